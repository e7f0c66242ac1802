"""The library as a third expert: it enters the fusion, and without one nothing changes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from eg_agent.errors import BadInput
from eg_agent.identify import Identification, Identifier, IdentifySettings, joint
from eg_agent.identify.branches import groups_of_cell
from eg_agent.identify.fusion import fuse, normalise
from eg_agent.library import Library
from eg_agent.patterns import Pattern, Radiation
from eg_agent.values import from_json, schema, to_json
from simulators.corpus import MINERAL, pack
from simulators.textbook import textbook
from trainer.library.building import library_of_corpus

CELL = (7.3, 8.9, 10.6, 90.0, 90.0, 90.0)


@pytest.fixture(scope="module")
def library_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("library") / "textbook.npz"
    library_of_corpus(pack((crystal, MINERAL) for crystal in textbook())).save(path)
    return path


@pytest.fixture(scope="module")
def with_library(checkpoint: Path, library_path: Path) -> Identifier:
    return Identifier(checkpoint, "uniform", IdentifySettings(time_limit=60.0), library=library_path)


@pytest.fixture(scope="module")
def pattern(powder) -> Pattern:
    return powder(17, "P n - a", CELL)


def test_the_answer_is_the_product_of_network_library_and_fit(with_library: Identifier, pattern) -> None:
    for cell in (None, CELL):
        answer = with_library.identify(pattern, cell)
        assert answer.lookup is not None
        assert answer.network is not None
        network, lookup = answer.network, answer.lookup.log_probability
        if cell is None:
            expected = fuse(network.log_probability, None, with_library.settings, lookup)
        else:
            assert answer.evidence is not None
            both = joint.weigh(
                network.log_probability, network.log_prior, answer.evidence, groups_of_cell(CELL)
            )
            expected = normalise(both + with_library.settings.library_weight * lookup)
        np.testing.assert_allclose(answer.log_probability, expected)
        assert (answer.evidence_only is None) == (cell is None)
        best = answer.lookup.matches[0]
        assert f"{best.similarity:.2f}" in answer.reason
        assert best.id in answer.reason


def test_only_the_library_makes_a_difference(
    identifier: Identifier, with_library: Identifier, pattern
) -> None:
    plain, other = identifier.identify(pattern), with_library.identify(pattern)
    assert plain.lookup is None
    assert plain.provenance.library == ""
    assert "network speaks alone" in plain.reason
    assert "network and library" in other.reason
    assert other.provenance.library == other.lookup.hash
    np.testing.assert_array_equal(plain.network.log_probability, other.network.log_probability)
    zero = replace(with_library.settings, library_weight=0.0)
    np.testing.assert_allclose(
        fuse(other.network.log_probability, None, zero, other.lookup.log_probability), plain.log_probability
    )


def test_json_validates_and_reads_back(with_library: Identifier, pattern) -> None:
    answer = with_library.identify(pattern)
    jsonschema.validate(json.loads(to_json(answer)), schema(Identification))
    assert to_json(from_json(Identification, to_json(answer))) == to_json(answer)


def test_patterns_that_cannot_be_looked_up_are_answered_without(with_library: Identifier, pattern) -> None:
    neutron = replace(pattern, radiation=Radiation(pattern.radiation.wavelength, kind="neutron"))
    answer = with_library.identify(neutron)
    assert answer.verdict != "refused"
    assert answer.lookup is None
    np.testing.assert_allclose(answer.log_probability, normalise(answer.network.log_probability))


def test_a_library_is_taken_as_an_object_or_a_path(
    checkpoint: Path, library_path: Path, with_library, pattern
) -> None:
    given = Identifier(checkpoint, "uniform", library=Library.load(library_path))
    one, other = given.identify(pattern), with_library.identify(pattern)
    np.testing.assert_array_equal(one.log_probability, other.log_probability)


def test_a_wrong_library_is_said_before_the_network_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(BadInput, match="not a library"):
        Identifier("/no/such/checkpoint", library=tmp_path / "x.npz")


def test_weights_and_counts_are_checked() -> None:
    with pytest.raises(BadInput, match="library_weight"):
        IdentifySettings(library_weight=1.5)
    with pytest.raises(BadInput, match="matches"):
        IdentifySettings(matches=0)
