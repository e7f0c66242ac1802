"""The network that judges absences and those that look at all lines: by which powers both count.

The powers are fitted on half of the samples that neither was trained on, and judged on the other half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from eg_agent.errors import BadInput
from trainer.absences.intensities import LineSample
from trainer.absences.network import NEVER, AbsenceModule, group_likelihoods, padded
from trainer.absences.training import SURE
from trainer.absences.whole import Curves, curves_of, said

#: Powers that are tried for each of the two.
POWERS = np.arange(0.0, 1.21, 0.05)
#: A group that no setting is a candidate for has this likelihood (nats); it cannot be the answer anyway.
NONE = 0.0


@dataclass(frozen=True, slots=True)
class Together:
    """Powers of the two, and how they do on the half that these were not fitted on: samples, -ln p in nats
    (alone: of the absences with a power of one), how often the true group is first, how often one has 0.95
    and is right then."""

    absences: float
    whole: float
    samples: int
    nll: float
    alone: float
    first: float
    sure: float
    right_when_sure: float


def put_together(
    network: AbsenceModule, members: Sequence[nn.Sequential], samples: Sequence[LineSample], prior: Tensor
) -> Together:
    """The powers, from the held-out ones of the samples; prior: [100] (`log_prior`). Raises BadInput where
    these are too few for two halves."""
    others = [s for s in samples if s.held_out]
    # a structure that was drawn twice is in the same half both times
    half = torch.tensor([crc32(np.asarray(s.shape, np.float32).tobytes()) % 2 == 0 for s in others])
    if not others or half.all() or not half.any():
        raise BadInput(f"{len(others)} held-out samples are too few to fit and to judge: ask for more.")
    curves = curves_of(others, prior)
    by_absences, by_whole = absences_of(network, others), said(members, curves)
    one, other = fitted_powers(by_absences[half], by_whole[half], _of(curves, half))
    rest = _of(curves, ~half)
    log_p = posterior_of(one * by_absences[~half] + other * by_whole[~half], rest)
    first, sure = log_p.argmax(1) == rest.group, log_p.max(1).values.exp() >= SURE
    right = first[sure].float()
    return Together(
        round(one, 2),
        round(other, 2),
        len(rest.group),
        round(float(nlls(log_p, rest).mean()), 4),
        round(float(nlls(posterior_of(by_absences[~half], rest), rest).mean()), 4),
        round(float(first.float().mean()), 4),
        round(float(sure.float().mean()), 4),
        round(float(right.mean()), 4) if len(right) else 0.0,
    )


@torch.inference_mode()
def absences_of(network: AbsenceModule, samples: Sequence[LineSample], at_once: int = 48) -> Tensor:
    """[n, 99] log-likelihoods of groups by the network that judges absences, nats."""
    order = sorted(range(len(samples)), key=lambda i: samples[i].forbidden.size)
    found = torch.empty(len(samples), 99)
    for start in range(0, len(order), at_once):
        part = order[start : start + at_once]
        of = padded([samples[i] for i in part])
        likelihood = group_likelihoods(network(of), of.groups)[:, 1:]
        found[part] = torch.where(likelihood > 0.5 * NEVER, likelihood, torch.tensor(NONE))
    return found


def fitted_powers(absences: Tensor, whole: Tensor, curves: Curves) -> tuple[float, float]:
    """The powers of both with the least -ln p on samples [n] with likelihoods [n, 99]."""
    found = []
    for one in POWERS.tolist():
        for other in POWERS.tolist():
            log_p = posterior_of(one * absences + other * whole, curves)
            found.append((float(nlls(log_p, curves).mean()), one, other))
    _, one, other = min(found)
    return one, other


def posterior_of(likelihood: Tensor, curves: Curves) -> Tensor:
    """[n, 99] log-probabilities with likelihoods [n, 99] and what was known before."""
    return torch.log_softmax(likelihood + curves.before, 1)


def nlls(log_p: Tensor, curves: Curves) -> Tensor:
    """[n] -ln p of the true groups, nats."""
    return -log_p.gather(1, curves.group[:, None])[:, 0]


def tensors_of(
    absences: Mapping[str, npt.NDArray[np.float32]], members: Sequence[nn.Sequential], together: Together
) -> dict[str, npt.NDArray[np.floating]]:
    """Weights by the names that `eg_agent.verify.absence_network.network_of` reads: those of the absences as
    they are, those of the whole in half precision with their power in the last layer."""
    found: dict[str, npt.NDArray[np.floating]] = dict(absences)
    for number, member in enumerate(members):
        linear = [layer for layer in member if isinstance(layer, nn.Linear)]
        for place, layer in enumerate(linear):
            power = together.whole if layer is linear[-1] else 1.0
            for kind, value in (("weight", layer.weight), ("bias", layer.bias)):
                array = (power * value).detach().numpy()
                found[f"whole {number}.{place}.{kind}"] = array.astype(np.float16)
    return found


def _of(curves: Curves, chosen: Tensor) -> Curves:
    return Curves(curves.inputs[chosen], curves.before[chosen], curves.group[chosen])
