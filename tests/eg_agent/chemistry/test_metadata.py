"""What metadata say of a sample's chemistry: read where meant, passed over where not, refused where wrong."""

from __future__ import annotations

import pytest

from eg_agent.chemistry import Composition
from eg_agent.chemistry.metadata import told
from eg_agent.errors import BadInput
from eg_agent.queue.settings import ShiftSettings

GARNET = Composition.of_formula("Ca3Al2Si3O12")


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"composition": "Ca3Al2Si3O12"}, GARNET),
        ({"composition": {"Ca": 3, "Al": 2, "Si": 3, "O": 12}}, GARNET),
        ({"elements": "Ca,Al,Si,O"}, GARNET.without_amounts()),
        ({"elements": ["Ca", "Al", "Si", "O"]}, GARNET.without_amounts()),
        ({"composition": "Ca3Al2Si3O12", "elements": "Na,Cl"}, GARNET),
        ({"composition": "", "elements": []}, None),
        ({"composition": 3, "elements": 4.0}, None),
        ({"sample": "garnet"}, None),
    ],
)
def test_what_is_said(metadata, said):
    assert told(metadata) == said


@pytest.mark.parametrize(
    "metadata",
    [
        {"composition": "Xx2O"},
        {"composition": "Na-2Cl"},
        {"composition": {"Na": -2, "Cl": 1}},
        {"composition": {"Na": "much"}},
        {"elements": ["Na", 17]},
        {"elements": "Na2,Cl"},
    ],
)
def test_what_cannot_be_is_refused(metadata):
    with pytest.raises(BadInput):
        told(metadata)


def test_the_sample_table_is_read_when_the_shift_is():
    shift = ShiftSettings(
        "night", samples=("a", "b"), compositions={"a": "Ca3Al2Si3O12"}, elements={"b": "Na,Cl"}
    )
    assert shift.chemistries() == {"a": GARNET, "b": Composition.of_elements("Cl,Na")}
    with pytest.raises(BadInput, match="chemistry of 'a'"):
        ShiftSettings("night", compositions={"a": "Xx2O"})
    with pytest.raises(BadInput, match="'a' has a composition and elements"):
        ShiftSettings("night", compositions={"a": "NaCl"}, elements={"a": "Na,Cl"})
