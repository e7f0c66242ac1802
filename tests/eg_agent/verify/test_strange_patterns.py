"""Random, truncated, spiked, empty, shifted or mislabelled patterns: evidence or a stated refusal, always.

As a script, `python test_strange_patterns.py N` prints how many of N such patterns came to what, the longest
time and the peak memory, as JSON.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest

from eg_agent.errors import BadInput, BadPattern
from eg_agent.patterns import Pattern, Radiation, check, evened
from eg_agent.verify import Evidence, VerifySettings, verify
from eg_agent.verify.fitting import NotFitted
from eg_agent.verify.indexing import index
from eg_agent.verify.verifier import weigh

Rng = np.random.Generator
Cell = tuple[float, ...]

STRUCTURES: tuple[tuple[str, Cell], ...] = (
    ("P n m a", (7.2, 5.1, 6.3, 90, 90, 90)),
    ("P 1 21/c 1", (5.2, 6.1, 5.6, 90, 101, 90)),
    ("I 41/a", (5.2, 5.2, 9.3, 90, 90, 90)),
    ("R -3 c", (4.99, 4.99, 17.06, 90, 90, 120)),
    ("F m -3 m", (5.64, 5.64, 5.64, 90, 90, 90)),
    ("P -1", (5.3, 6.2, 7.1, 93, 102, 88)),
)
#: Small, so that thousands can be tried; the bound of one is generous beside what it takes.
SETTINGS = VerifySettings(time_limit=5.0, max_lines=60, max_steps=6)
INDEX_SECONDS = 0.5
#: Where Linux tells of a process what memory it has had.
STATUS = Path("/proc/self/status")
#: Seconds above which a pattern counts as one that hangs, whatever else the machine does.
HANGS = 120.0
#: Some five minutes of a core: EG_AGENT_LONG_TESTS=1 pytest -m slow -k thousands
BY_HAND = pytest.mark.skipif("EG_AGENT_LONG_TESTS" not in os.environ, reason="minutes: by hand")


@dataclass(frozen=True)
class Strange:
    """A pattern with the cell it is said to have."""

    two_theta: np.ndarray
    intensity: np.ndarray
    radiation: Radiation
    cell: Cell
    sigma: np.ndarray | None = None
    raw: bool = False


def sound(rng: Rng) -> Strange:
    """Lines of a structure at random heights, on a background, counted."""
    symbol, cell = STRUCTURES[rng.integers(len(STRUCTURES))]
    unit = gemmi.UnitCell(*cell)
    hkl = gemmi.make_miller_array(unit, gemmi.SpaceGroup(symbol), 1.5)
    d = unit.calculate_d_array(hkl)
    x = np.arange(10.0, 60.0, 0.05)
    at = 2.0 * np.degrees(np.arcsin(0.5 * 1.5406 / d))
    u = (x[:, None] - at) / 0.12
    y = (1.0 / (1.0 + 4.0 * u * u)) @ rng.exponential(size=d.size)
    y = 10 ** rng.uniform(1, 5) * (y / y.max() + rng.uniform(0.0, 0.3))
    return Strange(x, rng.poisson(y).astype(float), Radiation(1.5406), cell, raw=bool(rng.random() < 0.5))


def changed(s: Strange, **parts: Any) -> Strange:
    return Strange(**{**{f: getattr(s, f) for f in s.__dataclass_fields__}, **parts})


def truncated(s: Strange, rng: Rng) -> Strange:
    start, count = int(rng.integers(s.two_theta.size)), int(10 ** rng.uniform(0, 3))
    part = slice(start, start + count)
    return changed(s, two_theta=s.two_theta[part], intensity=s.intensity[part])


def spiked(s: Strange, rng: Rng) -> Strange:
    y = s.intensity.copy()
    where = rng.integers(y.size, size=int(rng.integers(1, 30)))
    y[where] = rng.choice([1e3, 1e7, 1e15, 1e300, -1e6], size=where.size) * rng.random(where.size)
    return changed(s, intensity=y)


def with_holes(s: Strange, rng: Rng) -> Strange:
    y = s.intensity.copy()
    y[rng.random(y.size) < 10 ** rng.uniform(-3, 0)] = rng.choice([np.nan, np.inf, -np.inf])
    return changed(s, intensity=y)


def empty(s: Strange, rng: Rng) -> Strange:
    n = int(rng.integers(0, 4))
    return changed(s, two_theta=s.two_theta[:n], intensity=s.intensity[:n])


def flat(s: Strange, rng: Rng) -> Strange:
    level = float(rng.choice([0.0, 1.0, -5.0, 1e-300, 1e12]))
    return changed(s, intensity=np.full(s.two_theta.size, level))


def noise(s: Strange, rng: Rng) -> Strange:
    kind = int(rng.integers(4))
    n = s.two_theta.size
    y = (rng.normal(size=n), rng.exponential(size=n) ** 4, rng.poisson(3.0, n), np.cumsum(rng.normal(size=n)))
    return changed(s, intensity=np.asarray(y[kind], dtype=float))


def shifted(s: Strange, rng: Rng) -> Strange:
    return changed(s, two_theta=s.two_theta + rng.normal() * 10 ** rng.uniform(-2, 1.5))


def mislabelled(s: Strange, rng: Rng) -> Strange:
    other = STRUCTURES[rng.integers(len(STRUCTURES))][1]
    wavelength = float(rng.choice([0.4, 0.7093, 1.5406, 1.7890, 2.29, 15.0]))
    return changed(s, cell=other, radiation=Radiation(wavelength))


def wrong_cell(s: Strange, rng: Rng) -> Strange:
    lengths = 10 ** rng.uniform(0.0, 2.4, 3)
    angles = rng.choice([90.0, 120.0, 60.0, 91.0, 150.0, 25.0, 109.47], size=3)
    return changed(s, cell=(*lengths.tolist(), *angles.tolist()))


def supercell(s: Strange, rng: Rng) -> Strange:
    factors = rng.integers(1, 7, size=3)
    return changed(s, cell=(*(np.array(s.cell[:3]) * factors).tolist(), *s.cell[3:]))


def uneven(s: Strange, rng: Rng) -> Strange:
    kept = np.sort(rng.choice(s.two_theta.size, size=int(rng.integers(20, s.two_theta.size)), replace=False))
    return changed(s, two_theta=s.two_theta[kept], intensity=s.intensity[kept])


def disordered(s: Strange, rng: Rng) -> Strange:
    x = s.two_theta.copy()
    if rng.random() < 0.5:
        x = x[::-1].copy()
    else:
        x[rng.integers(x.size, size=5)] = x[0]
    return changed(s, two_theta=x)


def saturated(s: Strange, rng: Rng) -> Strange:
    return changed(s, intensity=np.minimum(s.intensity, np.quantile(s.intensity, rng.uniform(0.3, 0.99))))


def scaled(s: Strange, rng: Rng) -> Strange:
    return changed(s, intensity=s.intensity * 10 ** rng.uniform(-200, 200), raw=False)


def with_sigma(s: Strange, rng: Rng) -> Strange:
    sigma = np.sqrt(np.maximum(s.intensity, 0.0)) * 10 ** rng.uniform(-6, 6)
    sigma[rng.random(sigma.size) < 0.05] = rng.choice([0.0, 1e-30, 1e30, -1.0, np.nan])
    return changed(s, sigma=sigma, raw=False)


def negative(s: Strange, rng: Rng) -> Strange:
    return changed(s, intensity=s.intensity - rng.uniform(0.0, 2.0) * s.intensity.max(), raw=False)


def broad(s: Strange, rng: Rng) -> Strange:
    width = int(rng.integers(5, 200))
    return changed(s, intensity=np.convolve(s.intensity, np.ones(width) / width, "same"), raw=False)


def as_it_is(s: Strange, rng: Rng) -> Strange:
    return s


KINDS: tuple[Callable[[Strange, Rng], Strange], ...] = (
    truncated, spiked, with_holes, empty, flat, noise, shifted, mislabelled, wrong_cell, supercell, uneven,
    disordered, saturated, scaled, with_sigma, negative, broad, as_it_is,
)  # fmt: skip


def strange(seed: int) -> tuple[str, Strange]:
    """Pattern number `seed`: one or two things wrong with a sound one."""
    rng = np.random.default_rng([77, seed])
    first = KINDS[seed % len(KINDS)]
    found = first(sound(rng), rng)
    name = first.__name__
    if rng.random() < 0.3 and found.two_theta.size > 30:
        second = KINDS[int(rng.integers(len(KINDS)))]
        name, found = f"{name}, {second.__name__}", second(found, rng)
    if found.sigma is not None and found.sigma.size != found.two_theta.size:
        found = changed(found, sigma=None)
    return name, found


def outcome(seed: int, *, indexing: bool = False) -> str:
    """What came of it: a status, or the refusal; asserts that a person can use what is said."""
    name, s = strange(seed)
    try:
        made = Pattern(s.two_theta, s.intensity, s.radiation, sigma=s.sigma, raw_counts=s.raw)
        pattern = evened(check(made))
        evidence = verify(pattern, s.cell, settings=SETTINGS)
        if indexing:
            result = index(pattern, time_limit=INDEX_SECONDS)
            assert all(math.isfinite(v) for cell in result.cells for v in cell.cell), name
    except (BadPattern, BadInput) as error:
        return f"refused: {error}"
    assert_usable(evidence, name)
    return evidence.status


def assert_usable(evidence: Evidence, name: str) -> None:
    """A fitted pattern has finite evidence for every candidate; one that is not has a reason."""
    assert evidence.status in {"fitted", "not fitted"}, name
    assert len(evidence.reason) > 10, name
    if evidence.status == "not fitted":
        assert not evidence.candidates, name
        return
    assert evidence.candidates, name
    values = [c.log_evidence for c in evidence.candidates]
    assert np.isfinite(values).all(), name
    assert values == sorted(values, reverse=True), name
    assert evidence.cell is not None, name
    assert np.isfinite(evidence.cell).all(), name
    assert evidence.rwp is not None, name
    assert math.isfinite(evidence.rwp), name


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("kind", range(len(KINDS)), ids=[k.__name__ for k in KINDS])
def test_a_few_of_each_kind(kind: int) -> None:
    found = [outcome(kind + len(KINDS) * turn) for turn in range(5)]
    # a refusal is a sentence that says what to do
    assert all(f in {"fitted", "not fitted"} or len(f.split()) > 8 for f in found)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_indexing_of_strange_patterns() -> None:
    for seed in range(1000, 1000 + len(KINDS)):
        outcome(seed, indexing=True)


def test_sound_ones_are_fitted() -> None:
    """The generator is not so strange that everything is refused, which would show nothing."""
    place = KINDS.index(as_it_is)
    found = []
    for turn in range(8):
        rng = np.random.default_rng([77, place + len(KINDS) * turn])
        s = sound(rng)
        pattern = Pattern(s.two_theta, s.intensity, s.radiation, raw_counts=s.raw)
        found.append(verify(pattern, s.cell, settings=SETTINGS).status)
    assert found.count("fitted") >= 5


def test_a_fit_that_breaks_down_is_not_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaking(*_: object) -> None:
        raise np.linalg.LinAlgError("Matrix is not positive definite")

    monkeypatch.setattr("eg_agent.verify.verifier.fit_pattern", breaking)
    s = sound(np.random.default_rng(1))
    pattern = Pattern(s.two_theta, s.intensity, s.radiation)
    evidence = verify(pattern, s.cell)
    assert evidence.status == "not fitted"
    assert "broke down" in evidence.reason
    with pytest.raises(NotFitted, match="check the cell"):
        weigh(pattern, s.cell)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("number", [1000, pytest.param(5000, marks=BY_HAND)])
def test_thousands(number: int) -> None:
    ran = subprocess.run(
        [sys.executable, __file__, str(number)], capture_output=True, text=True, timeout=7000, check=False
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    summary = json.loads(ran.stdout)
    assert summary["patterns"] == number
    assert sum(summary["outcomes"].values()) == number
    assert summary["longest_seconds"] < HANGS
    # not told where there is no /proc; the rest is to be seen there, too
    assert not STATUS.is_file() or summary["peak_memory_mib"] < 1024.0


def peak_memory_mib() -> float | None:
    """Most that this process was resident with, MiB; None where nothing tells. Not getrusage: what that
    tells of a new process begins with what the one that started it had, a whole run of tests here."""
    if not STATUS.is_file():
        return None
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024.0


def main(number: int) -> int:
    """Try `number` patterns, every twentieth indexed too; a summary as JSON, 1 when any crashed."""
    import warnings

    warnings.simplefilter("ignore", RuntimeWarning)
    outcomes: Counter[str] = Counter()
    longest, worst = 0.0, 0
    crashed: dict[int, str] = {}
    for seed in range(number):
        started = time.perf_counter()
        try:
            outcomes[outcome(seed, indexing=seed % 20 == 0).partition(":")[0]] += 1
        except Exception as error:  # every crash is wanted, not the first one only
            crashed[seed] = f"{strange(seed)[0]}: {error!r}"[:300]
        taken = time.perf_counter() - started
        if taken > longest and seed > 20:  # the first ones compile
            longest, worst = taken, seed
    summary = {
        "patterns": number,
        "outcomes": dict(outcomes),
        "crashed": crashed,
        "longest_seconds": longest,
        "longest": f"{worst}: {strange(worst)[0]}",
        "peak_memory_mib": peak_memory_mib(),
    }
    sys.stdout.write(json.dumps(summary) + "\n")
    return 1 if crashed else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
