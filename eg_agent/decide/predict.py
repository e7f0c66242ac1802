"""Expected information of further measurements, by drawing what they would show.

The truth is drawn from the hypotheses (plain, or hiding a class of lines), each line's intensity from what
is known of it (an exponential mixture about its expectation, times the estimate so far), and the new estimate
from counting noise. The posterior that follows is exact within the model, so its entropy and its largest
probability are averaged over the draws. The same draws serve every action, so that actions are compared
without noise between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr, ndtri_exp

from eg_agent.decide.scene import (
    FOREIGN,
    HIDDEN,
    HIDDEN_LEVEL,
    HIDDEN_POWER,
    SHARES,
    Scene,
    component,
)

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

#: What a line is under a hypothesis.
_FORBIDDEN, _ALLOWED, _SHALLOW = 0, 1, 2
#: Mean intensity of a line that is hidden just below what is seen, in standard errors.
_JUST_BELOW = 2.0


@dataclass(frozen=True, slots=True)
class Expected:
    """What a measurement is expected to bring.

    gain: nats of information about the group. better: rise in the probability of the best answer.
    decided: chance that the best answer then reaches the probability that was asked for.
    """

    gain: float
    better: float
    decided: float


class Forecast:
    """Draws from a scene, made once; `expect` then judges one measurement after the other.

    draws: number of them. weight: power of the evidence in the fusion. enough: probability that decides.
    Deterministic: the draws are a function of the scene alone.
    """

    def __init__(self, scene: Scene, *, draws: int = 96, weight: float = 0.8, enough: float = 0.95) -> None:
        self.scene, self.weight, self.enough = scene, weight, enough
        rng = np.random.default_rng(0x5EED)
        self._components, self._centre = scene.components()
        self._shares = self._components - np.logaddexp.reduce(self._components, axis=1)[:, None]
        shallow = np.broadcast_to(_JUST_BELOW * scene.sigma, scene.sigma.shape)
        self._shallow = component(scene.estimate, scene.sigma, shallow, np.zeros(1))[1]
        self._species, self._group, self._log_w, self._deep_of, self._class = self._split()
        chance = np.exp(self._log_w)
        edges = np.cumsum(chance / chance.sum())
        at = (np.arange(draws) + rng.random(draws)) / draws
        self._truth = np.minimum(np.searchsorted(edges, at), edges.size - 1)
        self._intensity = self._draw(rng)
        self._noise = rng.standard_normal((draws, scene.two_theta.size))
        self._members = (self._group[:, None] == np.unique(self._group)[None, :]).astype(np.float64)
        now = np.exp(self._log_w) @ self._members
        self.now = now / now.sum()
        self.entropy = float(-np.sum(self.now * np.log(np.maximum(self.now, 1e-300))))

    def _split(self) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int64], Floats, list[int], list[Bools]]:
        """Hypotheses with their hiding variants: species [s, k], group [s], log weight [s]; for each, the
        index of the deep variant that it is the shallow one of (-1), and its class of lines."""
        scene = self.scene
        odds = self.weight * scene.odds()
        allowed, covered = scene.allowed, scene.covered
        species: list[npt.NDArray[np.int8]] = []
        group: list[int] = []
        log_w: list[float] = []
        deep_of: list[int] = []
        classes: list[Bools] = []

        def add(kind: npt.NDArray[np.int8], number: int, weight: float, deep: int, lines: Bools) -> int:
            species.append(kind)
            group.append(number)
            log_w.append(weight)
            deep_of.append(deep)
            classes.append(lines)
            return len(species) - 1

        none = np.zeros(scene.two_theta.size, dtype=bool)
        for h in range(len(scene.group)):
            mine = allowed[h]
            inside = [i for i in range(len(scene.group)) if _contained(allowed[i], mine, covered)]
            nearest = [
                i
                for i in inside
                if not any(_contained(allowed[i], allowed[j], covered) for j in inside if j != i)
            ]
            parts = [0.0]
            for i in nearest:
                lines = mine & ~allowed[i] & covered
                level = float(np.mean(np.log(np.clip(2.0 * scene.sigma[lines] / scene.strongest, 1e-4, 0.1))))
                chance = HIDDEN * np.exp(HIDDEN_POWER * (level - np.log(HIDDEN_LEVEL)))
                parts.append(float(np.log(min(chance, 0.3)) - odds[lines].sum()))
            shares = np.array(parts) - np.logaddexp.reduce(parts)
            weight = scene.log_weight[h]
            number = int(scene.group[h])
            add(np.where(mine, _ALLOWED, _FORBIDDEN).astype(np.int8), number, weight + shares[0], -1, none)
            for i, share in zip(nearest, shares[1:], strict=True):
                lines = mine & ~allowed[i] & covered
                seen_as = np.where(allowed[i], _ALLOWED, _FORBIDDEN).astype(np.int8)
                deep = add(seen_as, number, weight + float(share) + np.log(0.5), -1, lines)
                just = np.where(lines, _SHALLOW, seen_as).astype(np.int8)
                add(just, number, weight + float(share) + np.log(0.5), deep, lines)
        return np.stack(species), np.array(group), np.array(log_w), deep_of, classes

    def _draw(self, rng: np.random.Generator) -> Floats:
        """[n, k] intensities under the drawn truths."""
        n, k = self._truth.size, self.scene.two_theta.size
        pick = np.cumsum(np.exp(self._shares), axis=1)
        which = np.minimum((rng.random((n, k, 1)) > pick[None]).sum(axis=2), SHARES.size - 1)
        centre = np.take_along_axis(
            np.broadcast_to(self._centre, (n, *self._centre.shape)), which[:, :, None], 2
        )
        u = np.log(np.clip(rng.random((n, k)), 1e-12, 1.0))
        species = self._species[self._truth]
        middle = np.where(species == _SHALLOW, self._shallow, centre[:, :, 0])
        ratio = middle / self.scene.sigma
        value = middle - self.scene.sigma * ndtri_exp(u + log_ndtr(ratio))
        return np.where(species == _FORBIDDEN, 0.0, np.maximum(value, 0.0))

    def expect(self, seconds: Floats, *, afresh: bool = False) -> Expected:
        """What counting each line [k] for so many further seconds a point (0: not at all) brings.

        afresh: the misfit so far is not met again (other grains reflect when the sample is spun).
        """
        scene = self.scene
        used = np.flatnonzero(seconds > 0.0)
        if used.size == 0:
            return Expected(0.0, 0.0, 0.0)
        floor = 0.0 if afresh else scene.floor[used]
        error = np.sqrt(scene.per_second[used] / seconds[used] + floor**2)
        y = self._intensity[:, used] + error * self._noise[:, used]
        likelihood = self._likelihood(used, y, error)
        log_w = self._reweighted(used, error)
        species = self._species[:, used]
        total = np.zeros((y.shape[0], species.shape[0]))
        for kind in (_FORBIDDEN, _ALLOWED, _SHALLOW):
            total += likelihood[kind] @ (species == kind).T.astype(np.float64)
        log_post = log_w + self.weight * total
        log_post -= log_post.max(axis=1, keepdims=True)
        of_group = np.exp(log_post) @ self._members
        of_group /= of_group.sum(axis=1, keepdims=True)
        left = -np.sum(of_group * np.log(np.maximum(of_group, 1e-300)), axis=1)
        best = of_group.max(axis=1)
        # the truths were drawn before it was known how far this measurement sinks the level
        share = np.exp(log_w - self._log_w)[self._truth]
        share /= share.sum()
        gain = max(0.0, self.entropy - float(share @ left))
        better = max(0.0, float(share @ best - self.now.max()))
        return Expected(gain, better, float(share @ (best >= self.enough)))

    def _reweighted(self, used: npt.NDArray[np.intp], error: Floats) -> Floats:
        """[s] log weights when what hides deep gives way to what hides just below, as the level sinks."""
        log_w = self._log_w.copy()
        after = self.scene.sigma.copy()
        after[used] = 1.0 / np.sqrt(1.0 / self.scene.sigma[used] ** 2 + 1.0 / error**2)
        for s, deep in enumerate(self._deep_of):
            if deep < 0:
                continue
            lines = self._class[s]
            sink = float(np.mean(np.log(after[lines] / self.scene.sigma[lines])))
            stays = np.clip(np.exp(HIDDEN_POWER * sink), 1e-3, 1.0 - 1e-6)
            both = np.logaddexp(self._log_w[s], self._log_w[deep])
            log_w[deep], log_w[s] = both + np.log(stays), both + np.log1p(-stays)
        return log_w

    def _likelihood(self, used: npt.NDArray[np.intp], y: Floats, error: Floats) -> list[Floats]:
        """[3][n, k] log-likelihood of new estimates y [n, k]: lines forbidden, allowed, shallow."""
        sigma = self.scene.sigma[used]
        wide = np.hypot(sigma, error)

        def predictive(centre: Floats, shape: tuple[slice | None, ...]) -> Floats:
            s, e, w = sigma[shape], error[shape], wide[shape]
            value = y[(slice(None), *shape)]
            middle = (centre * e**2 + value * s**2) / w**2
            return (
                -0.5 * ((value - centre) / w) ** 2
                - np.log(w)
                + log_ndtr(middle * w / (s * e))
                - log_ndtr(centre / s)
            )

        allowed = np.logaddexp.reduce(
            self._shares[used] + predictive(self._centre[used], (slice(None), None)), axis=2
        )
        shallow = predictive(self._shallow[used], (slice(None),))
        forbidden = -0.5 * (y / error) ** 2 - np.log(error)
        forbidden = np.logaddexp(np.log1p(-FOREIGN) + forbidden, np.log(FOREIGN) + allowed)
        return [forbidden, allowed, shallow]


def _contained(fewer: Bools, more: Bools, covered: Bools) -> bool:
    """Whether `fewer` allows a true part of the lines, among those covered, that `more` allows."""
    a, b = fewer & covered, more & covered
    return bool(np.all(b[a]) and a.sum() < b.sum())
