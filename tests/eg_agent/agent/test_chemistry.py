"""The agent knows the chemistry from metadata or its table of samples, and says where it is not used."""

from __future__ import annotations

import bluesky.plans as bp
import numpy as np
import pytest
from scipy.special import logsumexp

from eg_agent.agent import Agent
from eg_agent.agent.worker import Brain, default_identifier, task
from eg_agent.chemistry import Composition
from eg_agent.decide.state import State
from eg_agent.patterns import Pattern, Radiation
from eg_agent.records.ledger import Policy

ROCK_SALT = (5.64, 5.64, 5.64, 90.0, 90.0, 90.0)


@pytest.fixture
def agent(tmp_path, engine):
    from beamline import FAST

    answers: list = []
    made = Agent(
        None,
        records=tmp_path,
        identifier=FAST,
        announce=None,
        listeners=(answers.append,),
        compositions={"salt": Composition.of_formula("NaCl")},
    )
    made.answers = answers  # type: ignore[attr-defined]
    engine.subscribe(made)
    yield made
    made.close(timeout=5)


def measured(engine, agent, **metadata):
    from beamline import TraceDetector

    (uid,) = engine(bp.count([TraceDetector(name="det")]), **metadata)
    return agent.ask(uid).result(60)


def test_what_is_wrong_with_a_composition_is_said_with_the_answer(engine, agent):
    answer = measured(engine, agent, sample="other", composition="Xx2O")
    assert answer.identification is not None
    assert "Xx" in answer.problem
    assert "not used" in answer.problem
    answer = measured(engine, agent, sample="another", composition={"some": "body's"})
    assert answer.identification is not None
    assert "not used" in answer.problem
    # From the table; this identifier reads none, and the answer says so instead of failing.
    answer = measured(engine, agent, sample="salt")
    assert answer.identification is not None
    assert "reads none" in answer.problem
    assert measured(engine, agent, sample="unknown").problem == ""


def rock_salt() -> Pattern:
    """A primitive stack of lines of a face-centred cube."""
    two_theta = np.arange(10.0, 90.0, 0.02)
    squares = sorted(
        {h * h + k * k + m * m for h in range(0, 8, 2) for k in range(0, 8, 2) for m in range(0, 8, 2)}
    )
    sines = 1.5406 * np.sqrt(squares[1:]) / (2 * ROCK_SALT[0])
    lines = 2 * np.degrees(np.arcsin(sines[sines < 0.7]))
    counts = 20 + 1000 * np.exp(-0.5 * ((two_theta[:, None] - lines) / 0.05) ** 2).sum(1)
    return Pattern(two_theta, np.rint(counts), Radiation(1.5406), raw_counts=True)


def test_the_worker_counts_the_composition_in():
    brain = Brain(default_identifier())
    said = []
    for composition in (None, Composition.of_elements("Na,Cl"), Composition.of_formula("NaCl")):
        question = task(rock_salt(), None, State(sample="a"), Policy(), "uid", "observe", composition)
        said.append(brain.answer(question))
        assert said[-1]["composition_unused"] == ""
    network = [answer["identification"]["network"] for answer in said]
    assert [n["composition"] for n in network] == ["", "Cl, Na", "ClNa"]
    probabilities = [np.array(n["log_probability"], dtype=float) for n in network]
    for values in probabilities:
        assert abs(logsumexp(values)) < 1e-6
    if not any(n["contradicts"] for n in network):
        assert not np.allclose(probabilities[0], probabilities[1])
        assert not np.allclose(probabilities[1], probabilities[2])
