"""The adapter for bluesky-adaptive's protocols, in a loop like its own, with a real RunEngine."""

from __future__ import annotations

import pytest

from eg_agent.agent import Agent
from eg_agent.agent.adaptive import AdaptiveOptimizer
from eg_agent.decide import Limits
from eg_agent.errors import BadInput
from eg_agent.records import DecisionRow, Policy, read_ledger
from plans import measure


def test_a_loop_of_suggest_measure_evaluate_ingest(engine, tmp_path):
    from beamline import FAST, Diffractometer

    limits = Limits(two_theta=(10.0, 60.0), max_repeats=2)
    device = Diffractometer(name="diff")
    device.sample.put("dim")
    with Agent(
        records=tmp_path,
        identifier=FAST,
        mode="act",
        policy=Policy(limits=limits),
        announce=None,
        listeners=(),
    ) as agent:
        assert agent.wait(120)
        engine.subscribe(agent)
        optimizer = AdaptiveOptimizer(agent, "dim", two_theta=(10.0, 60.0), seconds_per_point=1.0)
        assert optimizer.get_best_points() == ()
        assert optimizer.should_stop() == (False, None)
        measured = 0
        while points := optimizer.suggest(1):
            (point,) = points
            plan = measure(
                device,
                two_theta=(10.0, 60.0),
                step=0.1,
                seconds_per_point=point["seconds_per_point"],
                windows=point["windows"],
                md={"sample": "dim", "eg_shift": "s", "eg_decision_id": point["_id"]},
            )
            (uid,) = engine(plan)
            outcomes = optimizer(uid, points)
            assert [o["_id"] for o in outcomes] == [point["_id"]]
            optimizer.ingest(outcomes)
            measured += 1
        stop, reason = optimizer.should_stop()
        assert stop
        assert reason
        assert measured == 3, "the first measurement and the two repeats that the limits allow"
        ((ident, suggestion, outcome),) = optimizer.get_best_points()
        assert suggestion["_id"] == ident
        assert outcome["group"] == "P - - -"
        optimizer.checkpoint()
        made = [row for row in read_ledger(agent.ledger.path) if isinstance(row, DecisionRow)]
        assert len({row.decision.decision_id for row in made}) == 3
        with pytest.raises(BadInput, match="was not answered"):
            AdaptiveOptimizer(agent, "dim", two_theta=(10, 60), seconds_per_point=1.0, timeout=0.1)(
                "x", points
            )


def test_it_fits_the_protocols_where_the_package_is_installed(tmp_path):
    protocols = pytest.importorskip("blop.protocols")
    for name in ("Optimizer", "EvaluationFunction", "Checkpointable", "SupportsStoppingCriteria"):
        if hasattr(protocols, name):
            wanted = [m for m in dir(getattr(protocols, name)) if not m.startswith("_")]
            assert all(hasattr(AdaptiveOptimizer, method) for method in wanted)
