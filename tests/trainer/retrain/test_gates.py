"""Gates: read from TOML, judged from figures."""

from __future__ import annotations

from copy import deepcopy

import pytest

from eg_agent.errors import BadInput
from trainer.retrain.gates import Gates, as_json, in_words, judged, passed, read_gates


def interval(value: float, half: float = 0.1) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


def side(bits: float, top1: float = 0.0) -> dict:
    return {
        "compounds": 30,
        "gain": {"bits": interval(bits), "top1": interval(top1, 0.01)},
        "gain_over_deployed": {"bits": interval(bits)},
        "sets": {"set_coverage": interval(0.9, 0.05)},
    }


def figures(bits: float = 0.3, on_benchmark: float = 0.05) -> dict:
    return {"coverage": 0.9, "recent": side(bits), "benchmark": side(on_benchmark)}


def failed(told: dict, gates: Gates = Gates()) -> list[str]:  # noqa: B008 - frozen
    return [gate.name for gate in judged(gates, told) if gate.passed is False]


def test_a_better_one_passes_and_a_worse_one_fails_by_name():
    assert failed(figures()) == []
    assert passed(judged(Gates(), figures()))
    assert failed(figures(bits=0.05)) == ["recent_bits", "deployed_bits"]  # better, but not beyond doubt
    assert failed(figures(on_benchmark=-0.01)) == ["benchmark_bits"]
    assert failed(figures(on_benchmark=-0.01), Gates(benchmark_bits=-0.2)) == []
    told = figures()
    told["recent"]["compounds"] = 9
    told["recent"]["sets"]["set_coverage"] = interval(0.79, 0.0)
    told["recent"]["gain"]["top1"] = interval(-0.03)
    told["benchmark"]["gain"]["top1"] = interval(-0.02, 0.02)
    assert failed(told) == ["least_compounds", "recent_top1", "recent_coverage", "benchmark_top1"]


def test_without_a_benchmark_its_gates_are_not_judged():
    told = figures()
    del told["benchmark"]
    gates = judged(Gates(), told)
    assert [gate.name for gate in gates if gate.passed is None] == ["benchmark_bits", "benchmark_top1"]
    assert passed(gates)
    assert "not judged" in in_words(gates[-1])


def test_in_words_and_as_json():
    gates = judged(Gates(), deepcopy(figures()))
    assert in_words(gates[1]).startswith("passed")
    assert "[0.2, 0.4]" in in_words(gates[1])
    told = as_json(gates)
    assert told[1]["figure"] == [0.3, 0.2, 0.4]
    assert told[1]["threshold"] == 0.0


def test_gates_from_a_file(tmp_path):
    path = tmp_path / "gates.toml"
    path.write_text("recent_bits = 0.05\nleast_compounds = 20\n")
    assert read_gates(path) == Gates(recent_bits=0.05, least_compounds=20)
    assert read_gates(None) == Gates()
    path.write_text("recent_bit = 0.05\n")
    with pytest.raises(BadInput, match=r"recent_bit: .* Gates are least_compounds, recent_bits"):
        read_gates(path)
    path.write_text("recent_bits = 'much'\n")
    with pytest.raises(BadInput, match="recent_bits"):
        read_gates(path)
    path.write_text("recent_bits = = 1\n")
    with pytest.raises(BadInput, match="cannot be read as TOML"):
        read_gates(path)
    with pytest.raises(BadInput, match="no file of gates"):
        read_gates(tmp_path / "nothing.toml")
