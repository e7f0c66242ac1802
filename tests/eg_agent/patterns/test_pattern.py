"""`Pattern` and `Radiation`: what they refuse, JSON in and out, and the same data giving the same uid."""

from __future__ import annotations

import json

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eg_agent.errors import BadInput
from eg_agent.patterns import ANODES, Pattern, Radiation, Source
from eg_agent.values import from_json, schema, to_json


def pattern(**fields: object) -> Pattern:
    x = np.linspace(10.0, 20.0, 5)
    given_fields: dict[str, object] = {"two_theta": x, "intensity": x**2, "radiation": Radiation.anode("Cu")}
    return Pattern(**{**given_fields, **fields})  # type: ignore[arg-type]


def test_a_pattern_survives_json_and_its_published_schema() -> None:
    full = pattern(
        sigma=np.ones(5),
        counting_time=np.full(5, 2.0),
        raw_counts=True,
        geometry="bragg-brentano",
        covered=((10.0, 12.0), (15.0, 20.0)),
        source=Source("file", "a.xy", "corundum", "text", ("a note",)),
    )
    text = to_json(full)
    jsonschema.validate(json.loads(text), schema(Pattern))
    back = from_json(Pattern, text)
    assert back.uid == full.uid
    assert back.source == full.source
    assert back.covered == full.covered
    np.testing.assert_array_equal(back.counting_time, full.counting_time)


def test_uid_follows_the_data_and_nothing_else() -> None:
    one = pattern()
    assert len(one.uid) == 16
    assert pattern(source=Source(name="elsewhere")).uid == one.uid
    assert pattern(radiation=Radiation(1.54)).uid != one.uid
    assert pattern(intensity=np.ones(5)).uid != one.uid


def test_arrays_are_read_only_and_of_one_length() -> None:
    with pytest.raises(ValueError, match="read-only"):
        pattern().intensity[0] = 1.0
    with pytest.raises(ValueError, match="sigma has 4 points"):
        pattern(sigma=np.ones(4))
    with pytest.raises(ValueError, match="1-D"):
        pattern(intensity=np.ones((5, 1)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"wavelength": 0.0}, "angstrom"),
        ({"wavelength": 1540.6}, "angstrom"),
        ({"wavelength": 1.5444, "wavelength2": 1.5406}, "K-alpha1 first"),
        ({"wavelength": 1.5406, "wavelength2": 1.5444, "ratio": 2.0}, "ratio"),
    ],
)
def test_impossible_radiations(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Radiation(**arguments)  # type: ignore[arg-type]


@given(element=st.sampled_from(sorted(ANODES)))
def test_anodes_are_doublets_of_the_right_spacing(element: str) -> None:
    lit = Radiation.anode(element)
    assert lit.wavelength2 is not None
    assert 1.0005 < lit.wavelength2 / lit.wavelength < 1.01
    assert lit.wavelength < lit.mean_wavelength < lit.wavelength2
    assert Radiation.anode(element, kalpha2=False).wavelengths == (lit.wavelength,)


def test_mean_wavelength_of_copper_is_the_textbook_one() -> None:
    assert Radiation.anode("Cu").mean_wavelength == pytest.approx(1.54187, abs=2e-5)
    with pytest.raises(BadInput, match="unknown anode"):
        Radiation.anode("Xx")
