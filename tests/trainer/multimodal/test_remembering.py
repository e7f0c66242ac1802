"""Trust in known compositions: fitted on entries that the network never saw, each predicted by the others."""

from __future__ import annotations

import numpy as np
import torch

from eg_agent.chemistry import Composition
from eg_agent.model.composition import CompositionConfig, CompositionHead, chemistry
from trainer.multimodal.chemistries import Compositions
from trainer.multimodal.remembering import EXACT, fitted_trust, known_of

SMALL = CompositionConfig(features=12, width=16, depth=1, heads=2, hidden=24, dropout=0.0)
PRIOR = np.full(99, -np.log(99.0))


def made_up(repeats: int, same: float, seed: int = 0) -> Compositions:
    """100 formulas with a group each; a further entry has that group with the probability `same`."""
    rng = np.random.default_rng(seed)
    metals = ("Fe", "Ni", "Zn", "Cu", "Mg")
    found, groups = [], []
    for place in range(100):
        composition = Composition.of_amounts({metals[place % 5]: 1.0 + place // 5, "O": 10.0})
        own = int(rng.integers(99))
        for _ in range(repeats):
            found.append(composition)
            groups.append(own if rng.random() < same else int(rng.integers(99)))
    return Compositions(chemistry(found), torch.tensor(groups))


def test_entries_that_agree_are_trusted_more():
    head = CompositionHead(SMALL).eval()  # says nothing: 1/99 for every group
    sure, doubtful = (
        fitted_trust(head, known_of(entries, PRIOR), entries, PRIOR)
        for entries in (made_up(4, 0.98), made_up(4, 0.3))
    )
    assert sure is not None
    assert doubtful is not None
    assert sure.n == doubtful.n == 400
    assert sure.trust.exact == EXACT[0]
    assert doubtful.trust.exact == EXACT[-1]
    assert sure.exact < 0.5
    np.testing.assert_allclose([sure.exact_alone, sure.elements_alone], np.log(99.0), rtol=1e-6)
    assert sure.exact < sure.elements < sure.elements_alone


def test_a_judge_does_not_see_itself():
    """Every formula once: looking up brings nothing but what other amounts say, and harms little."""
    entries = made_up(1, 1.0)
    fitted = fitted_trust(CompositionHead(SMALL).eval(), known_of(entries, PRIOR), entries, PRIOR)
    assert fitted is not None
    assert fitted.exact > 0.95 * fitted.exact_alone


def test_nobody_judges_where_nothing_was_held_out():
    nothing = made_up(1, 1.0).only(torch.zeros(100, dtype=torch.bool))
    assert fitted_trust(CompositionHead(SMALL).eval(), known_of(nothing, PRIOR), nothing, PRIOR) is None


def test_entries_are_those_of_the_compositions():
    entries = made_up(2, 1.0)
    known = known_of(entries, PRIOR)
    assert len(known) == 200
    found = known.counts(Composition.of_formula("Fe2O20"), 0.001)
    assert found.sum() > 1.9
    assert found.argmax() == int(entries.group[0])
