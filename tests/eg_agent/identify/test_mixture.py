"""The mixture over cells, by direct sums and by its limits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from eg_agent.identify.mixture import (
    BELOW,
    FAMILIES,
    FEATURES,
    CellMerit,
    Cells,
    MixtureConstants,
    cell_evidence,
    mix,
)
from eg_agent.symmetry import N_GROUPS, group, groups

CUBIC, ORTHORHOMBIC = FAMILIES.index("c"), FAMILIES.index("o")
PLAIN = MixtureConstants(
    coefficients=(1.0, 0, 0, 0, 0, 0, 0), missed=(0.0,) * 6, power=1.0, floor=0.02, temperature=1.0
)


def carried(family: str) -> list[int]:
    return [entry.number - 1 for entry in groups() if entry.bravais[0] == family]


def one_cell(evidence: dict[int, float], family: int, constant: float) -> Cells:
    features = np.zeros((1, 1, len(FEATURES)))
    features[0, 0, 0] = constant
    log_evidence = np.full((1, 1, N_GROUPS), -np.inf)
    for index, value in evidence.items():
        log_evidence[0, 0, index] = value
    return Cells(features, log_evidence, np.array([[family]]), np.ones((1, 1), bool), np.ones(1, bool))


def no_cells(searched: bool = True) -> Cells:
    shape = (1, 0)
    return Cells(
        np.zeros((1, 0, len(FEATURES))), np.zeros((1, 0, N_GROUPS)), np.zeros(shape, np.int64),
        np.zeros(shape, bool), np.array([searched]),
    )  # fmt: skip


def beliefs(seed: int) -> npt.NDArray[np.float64]:
    p = np.random.default_rng(seed).dirichlet(np.full(N_GROUPS, 0.3)) + 1e-9
    return np.log(p / p.sum())[None]


@given(seed=st.integers(0, 10_000), constant=st.floats(-8, 8))
def test_it_is_the_sum_over_cells_and_none(seed: int, constant: float) -> None:
    rng = np.random.default_rng(seed)
    before = beliefs(seed)
    inside = carried("o")
    cells = one_cell(
        {i: float(v) for i, v in zip(inside, rng.normal(0, 4, len(inside)))}, ORTHORHOMBIC, constant
    )
    found = mix(before, cells, PLAIN)
    network = np.exp(before[0])
    raw = np.exp(cells.evidence[0, 0])
    allowed = np.array([entry.bravais[0] in BELOW["o"] for entry in groups()])
    evidence = 0.98 * raw / raw.sum() + 0.02 * allowed / allowed.sum()
    expected = network * (1.0 + np.exp(constant) * N_GROUPS * evidence)
    np.testing.assert_allclose(np.exp(found.log_probability[0]), expected / expected.sum(), rtol=1e-9)
    np.testing.assert_allclose(found.none[0], 1.0 / expected.sum(), rtol=1e-9)
    np.testing.assert_allclose(found.none[0] + found.cells[0].sum(), 1.0, rtol=1e-12)


def test_a_sure_cell_leaves_the_product_and_a_hopeless_one_the_network() -> None:
    before = beliefs(3)
    inside = carried("o")
    evidence = {i: -0.3 * k for k, i in enumerate(inside)}
    sure, hopeless = (mix(before, one_cell(evidence, ORTHORHOMBIC, c), PLAIN) for c in (40.0, -40.0))
    cells = one_cell(evidence, ORTHORHOMBIC, 0.0)
    product = before[0] + cell_evidence(cells.evidence, cells.family, PLAIN)[0, 0]
    expected = np.exp(product) / np.exp(product).sum()
    np.testing.assert_allclose(np.exp(sure.log_probability[0]), expected, atol=1e-9)
    np.testing.assert_allclose(hopeless.log_probability, before, atol=1e-9)


def test_groups_of_equal_absences_share_by_what_was_believed_before() -> None:
    """P3_1 and P6_2 (72, 78) have the same absences, and so have P2_1 and P4_2 (82, 83)."""
    before = beliefs(5)
    for family, pair in (("h", (72, 78)), ("c", (82, 83))):
        evidence = dict.fromkeys(carried(family), -50.0) | {n - 1: 0.0 for n in pair}
        found = mix(
            before, one_cell(evidence, FAMILIES.index(family), 30.0), MixtureConstants(temperature=1.0)
        )
        first, second = (n - 1 for n in pair)
        np.testing.assert_allclose(
            found.log_probability[0, first] - found.log_probability[0, second],
            before[0, first] - before[0, second],
            atol=1e-9,
        )


def test_a_special_metric_keeps_lower_symmetry_possible() -> None:
    before = np.full((1, N_GROUPS), -np.log(N_GROUPS))
    cells = one_cell(dict.fromkeys(carried("c"), 0.0), CUBIC, 30.0)
    p = np.exp(mix(before, cells, PLAIN).log_probability[0])
    orthorhombic = sum(p[i] for i in carried("o"))
    assert 0.001 < orthorhombic < 0.02
    lower = one_cell(dict.fromkeys(carried("o"), 0.0), ORTHORHOMBIC, 30.0)
    p = np.exp(mix(before, lower, PLAIN).log_probability[0])
    assert max(p[i] for i in carried("c")) < 1e-9  # an orthorhombic metric carries no cubic group


def test_a_search_without_a_find_speaks_for_low_symmetry_and_no_search_says_nothing() -> None:
    before = np.full((1, N_GROUPS), -np.log(N_GROUPS))
    constants = MixtureConstants()
    searched = mix(before, no_cells(), constants).log_probability[0]
    cubic, triclinic = carried("c")[0], 98
    assert group(triclinic + 1).crystal_system == "triclinic"
    assert searched[triclinic] > searched[cubic]
    np.testing.assert_allclose(
        mix(before, no_cells(searched=False), PLAIN).log_probability, before, atol=1e-12
    )


def test_padding_changes_nothing() -> None:
    before = np.vstack([beliefs(1), beliefs(2)])
    cells = one_cell({i: float(i) / 50 for i in carried("c")}, CUBIC, 1.5)
    alone = mix(before[:1], cells, MixtureConstants()).log_probability
    padded = Cells(
        np.concatenate([cells.features, np.zeros_like(cells.features)]),
        np.concatenate([cells.evidence, np.zeros_like(cells.evidence)]),
        np.zeros((2, 1), np.int64),
        np.array([[True], [False]]),
        np.array([True, True]),
    )
    found = mix(before, padded, MixtureConstants()).log_probability
    np.testing.assert_allclose(found[0], alone[0], atol=1e-12)
    np.testing.assert_allclose(
        found[1], mix(before[1:], no_cells(), MixtureConstants()).log_probability[0], atol=1e-12
    )


def test_better_figures_of_merit_make_a_cell_more_probable() -> None:
    good = CellMerit(50.0, 0.0, 100.0, 20, 20, 30, 5.0, 5.0)
    coefficients = np.array(MixtureConstants().coefficients)
    odds = good.features() @ coefficients
    for worse in (
        CellMerit(20.0, 0.0, 100.0, 20, 20, 30, 5.0, 5.0),
        CellMerit(50.0, 20.0, 100.0, 20, 20, 30, 5.0, 5.0),
        CellMerit(50.0, 0.0, 20.0, 20, 20, 30, 5.0, 5.0),
        CellMerit(50.0, 0.0, 100.0, 12, 20, 30, 5.0, 5.0),
        CellMerit(50.0, 0.0, 100.0, 20, 20, 200, 5.0, 5.0),
        CellMerit(50.0, 0.0, 100.0, 20, 20, 30, 15.0, 5.0),
    ):
        assert worse.features() @ coefficients < odds
