"""Networks over all lines learn, go on where they stopped, and count by powers that help."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from eg_agent.errors import BadInput
from simulators.textbook import textbook
from trainer.absences.intensities import LineSample, line_sample
from trainer.absences.network import NEVER, AbsenceModule, Size
from trainer.absences.together import POWERS, absences_of, fitted_powers, nlls, posterior_of, put_together
from trainer.absences.training import log_prior
from trainer.absences.whole import Curves, WholeTraining, curves_of, said, train_whole
from trainer.benchmark.simulated_samples import own_metric

SMALL = WholeTraining(epochs=60, batch=32, width=32, dropout=0.1, members=1)


@pytest.fixture(scope="module")
def samples() -> list[LineSample]:
    """Textbook structures several times over, every fourth held out."""
    crystals = [c for c in textbook() if own_metric(c)]
    found = []
    for place in range(200):
        sample = line_sample(crystals[place % len(crystals)], None, np.random.default_rng(place))
        if sample is not None:
            found.append(replace(sample, held_out=place % 4 == 0))
    return found


def test_patterns_of_known_structures_are_known_again(samples: list[LineSample], tmp_path: Path) -> None:
    prior = log_prior(samples)
    members = train_whole(samples, tmp_path, SMALL)
    others = [s for s in samples if s.held_out]
    curves = curves_of(others, prior)
    nothing = nlls(posterior_of(torch.zeros(len(others), 99), curves), curves).mean()
    known = nlls(posterior_of(said(members, curves), curves), curves).mean()
    assert known < 0.7 * nothing
    together = put_together(AbsenceModule(Size(8, 16, 16, 8)), members, samples, prior)
    assert together.whole > 0.0
    assert together.nll < together.alone


def test_a_stopped_training_goes_on_as_if_it_had_not_been(samples: list[LineSample], tmp_path: Path) -> None:
    training = replace(SMALL, epochs=4, dropout=0.0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    whole = train_whole(samples, tmp_path / "a", training)

    class Stopped(Exception):
        """Ends a training in the middle."""

    def stop(text: str) -> None:
        if "epoch 2 of 4" in text:
            raise Stopped

    with pytest.raises(Stopped):
        train_whole(samples, tmp_path / "b", training, stop)
    resumed = train_whole(samples, tmp_path / "b", training)
    for one, other in zip(whole[0].parameters(), resumed[0].parameters(), strict=True):
        torch.testing.assert_close(one, other)
    with pytest.raises(BadInput, match="other settings"):
        train_whole(samples, tmp_path / "b", replace(training, noise=0.3))


def test_what_a_lattice_cannot_have_is_never_said(samples: list[LineSample], tmp_path: Path) -> None:
    members = train_whole(samples, tmp_path, replace(SMALL, epochs=1))
    curves = curves_of(samples[:20], log_prior(samples))
    log_p = posterior_of(said(members, curves), curves)
    cannot = curves.before < 0.5 * NEVER
    assert log_p[cannot].max() < -1e6
    np.testing.assert_allclose(log_p.exp().sum(1).detach(), 1.0, atol=1e-5)


def test_powers_are_those_with_the_best_probability_of_the_truth() -> None:
    # two groups; the first likelihood says the truth twice too strongly, the second is noise
    rng = np.random.default_rng(2)
    true = torch.from_numpy(rng.integers(2, size=4000))
    said_right = torch.from_numpy(rng.random(4000) < 1.0 / (1.0 + np.exp(-1.0)))
    leading = torch.where(said_right, true, 1 - true)
    before = torch.full((4000, 99), NEVER)
    before[:, :2] = 0.0
    one = torch.zeros(4000, 99)
    one[torch.arange(4000), leading] = 2.0
    noise = torch.from_numpy(rng.normal(size=(4000, 99)).astype(np.float32))
    curves = Curves(torch.zeros(4000, 1), before, true)
    first, second = fitted_powers(one, noise, curves)
    assert first == pytest.approx(0.5, abs=0.1)
    assert second <= POWERS[1]


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_held_out_samples_are_refused(samples: list[LineSample], count: int) -> None:
    few = [replace(s, held_out=place < count) for place, s in enumerate(samples)]
    with pytest.raises(BadInput, match=f"{count} held-out samples are too few"):
        put_together(AbsenceModule(Size(8, 16, 16, 8)), [], few, log_prior(samples))


def test_absences_are_said_in_the_order_of_the_samples(samples: list[LineSample]) -> None:
    torch.manual_seed(0)
    module = AbsenceModule(Size(8, 16, 16, 8))
    together = absences_of(module, samples[:30])
    alone = torch.cat([absences_of(module, [s]) for s in samples[:30]])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
