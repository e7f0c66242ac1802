"""What a fit shows of each candidate, and of the measurement, in numbers: for who weighs it with a network.

The pooled evidence (`eg_agent.verify.pooling`) is one number a candidate, whatever was measured. How much it
should count depends on how faint a line can be seen, on the misfit, on the lattice; and what kind of lines a
candidate forbids, and how strong those are that it ought not to have, says more than one number can.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eg_agent.verify.absence_network import Learned
from eg_agent.verify.candidates import Candidate
from eg_agent.verify.likelihood import Likelihood
from eg_agent.verify.pooling import opinions, with_tail
from eg_agent.verify.score import Scores, log_mean

Floats = npt.NDArray[np.float64]

#: Nats that a group is behind, at most, by what all lines together look like: new structures look like none.
MOST_WHOLE = 6.0
#: Of a candidate: nats behind the best candidate of the evidence of absences and of chi-square with BIC's
#: price, with the long tail of `pooling`; log of 1 + lines that it forbids; half the log of 1 + reflections
#: that it forbids on axes, in zones, of general indices; log of 1 + standard errors of the strongest and the
#: second strongest line that it forbids; share of all intensity in lines that it forbids (a third of the log,
#: from 1e-4). The last two are of its group: nats behind the best group of what the absence network says,
#: with the same long tail; and of what is said by those that look at all lines, `MOST_WHOLE` at most.
TRAITS = (
    "evidence", "chi_square", "forbidden", "axes", "zones", "general", "strongest", "second", "share",
    "learned", "whole",
)  # fmt: skip
#: Of the measurement: log of the faintest line that is seen (two standard errors, median) in hundredths of
#: the strongest; log of the goodness of fit; log of lines / 60; log of signal over noise / 100, / 1.5; log of
#: Rwp / 10 %; then the crystal family of the lattice, one of five (none of them: triclinic).
CONTEXT = ("faintest", "misfit", "lines", "signal", "residual", "m", "o", "t", "h", "c")


def traits_of(
    likelihood: Likelihood, candidates: list[Candidate], scores: Scores, learned: Learned
) -> Floats:
    """[c, 11] of the candidates, in the order of `TRAITS`; learned: what the absence network says of them, of
    which a group has the mean likelihood of its settings."""
    behind = opinions(scores.terms)[1:]
    groups = np.array([candidate.setting.group for candidate in candidates])
    of_group = np.empty(len(candidates))
    for number in np.unique(groups):
        of_group[groups == number] = log_mean(learned.absences[groups == number])
    learned_behind = with_tail(of_group.max() - of_group)
    whole_behind = np.minimum(learned.whole.max() - learned.whole, MOST_WHOLE)
    standing = likelihood.intensity / likelihood.sigma
    total = max(float(likelihood.intensity.sum()), 1e-300)
    found = np.empty((len(candidates), len(TRAITS)))
    for i, candidate in enumerate(candidates):
        forbidden = candidate.allowed == 0
        highest = np.sort(np.append(standing[forbidden], [0.0, 0.0]))[::-1]
        share = float(likelihood.intensity[forbidden].sum()) / total
        found[i] = [
            *behind[i],
            scores.terms[i, 2],
            *(0.5 * np.log1p(candidate.absent)),
            np.log1p(highest[0]),
            np.log1p(highest[1]),
            np.log(max(share, 1e-4)) / 3.0 + 3.0,
            learned_behind[i],
            whole_behind[i],
        ]
    return found


def context_of(likelihood: Likelihood, goodness_of_fit: float, rwp: float, lattice: str) -> Floats:
    """[10] of the measurement, in the order of `CONTEXT`; rwp in per cent, lattice a Bravais symbol."""
    intensity, sigma = likelihood.intensity, likelihood.sigma
    strongest = max(float(intensity.max(initial=0.0)), 1e-300)
    signal = float(intensity.sum()) / max(float(np.sqrt(np.sum(sigma**2))), 1e-300)
    return np.array(
        [
            np.log(np.clip(2.0 * float(np.median(sigma)) / strongest, 1e-4, 0.3) / 0.01),
            np.log(np.clip(goodness_of_fit, 0.7, 30.0)),
            np.log(max(intensity.size, 1) / 60.0),
            np.log(np.clip(signal, 3.0, 1e4) / 100.0) / 1.5,
            np.log(np.clip(rwp, 1.0, 80.0) / 10.0),
            *(float(lattice[0] == family) for family in "mothc"),
        ]
    )
