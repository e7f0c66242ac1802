"""Properties stand beside an identification: shown where the composition is known, and counted nowhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eg_agent.chemistry import Composition
from eg_agent.identify import Identification, Identifier, IdentifySettings
from eg_agent.patterns import Pattern, Radiation
from eg_agent.values import from_json, to_json

NACL = Composition.of_formula("NaCl")


@pytest.fixture(scope="module")
def identifier() -> Identifier:
    return Identifier(settings=IdentifySettings(index_seconds=0.0))


@pytest.fixture(scope="module")
def salt() -> Pattern:
    """Rock salt with Poisson counts."""
    two_theta = np.arange(10.0, 90.0, 0.02)
    squares = np.array([3, 4, 8, 11, 12, 16, 19, 20, 24, 27, 32])
    height = np.array([8, 100, 55, 2, 15, 6, 1, 11, 7, 1, 3.0])
    lines = 2 * np.degrees(np.arcsin(1.5406 * np.sqrt(squares) / (2 * 5.64)))
    rate = 20 + 20 * np.exp(-0.5 * ((two_theta[:, None] - lines) / 0.06) ** 2) @ height
    counts = np.random.default_rng(0).poisson(rate).astype(float)
    return Pattern(two_theta, counts, Radiation(1.5406), raw_counts=True)


def test_they_are_shown_beside_the_answer_and_count_for_nothing(identifier, salt, monkeypatch, capsys):
    answer = identifier.identify(salt, composition=NACL)
    assert answer.network is not None
    assert not answer.network.contradicts
    found = answer.properties
    assert found is not None
    assert found.inputs == "both"
    assert found.composition == "ClNa"
    assert found.formation_energy.low < found.formation_energy.value < found.formation_energy.high
    assert from_json(Identification, to_json(answer)).properties == found
    from eg_agent.cli.tables import print_answer

    print_answer(Path("salt.xy"), answer)
    text = " ".join(capsys.readouterr().out.split())
    assert f"formation energy {found.formation_energy.value:.2f} eV/atom" in text
    assert "this counts for nothing above" in text
    monkeypatch.setattr(Identifier, "properties", lambda *_: None)
    without = identifier.identify(salt, composition=NACL)
    assert without.properties is None
    np.testing.assert_array_equal(answer.log_probability, without.log_probability)
    assert (answer.verdict, answer.reason, answer.top) == (without.verdict, without.reason, without.top)


def test_they_are_left_out_where_they_would_say_nothing(identifier, salt):
    for composition in (None, NACL.without_amounts()):
        assert identifier.identify(salt, composition=composition).properties is None
    network = identifier.classifier.predict(salt, NACL)
    assert identifier.properties(salt, NACL, replace(network, contradicts=True)) is None
    neutrons = replace(salt, radiation=Radiation(1.5406, kind="neutron"))
    assert identifier.properties(neutrons, NACL, network) is None
