"""One group of overlapped lines, fitted together: pseudo-Voigt, K-alpha2, axial divergence, background."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import roots_jacobi

Floats = npt.NDArray[np.floating]

_FOUR_LN2 = 4.0 * np.log(2.0)
#: Quadrature over the axial offset of a ray, 0 to 1, for sample and detector equally long: the offset's
#: distribution falls linearly to zero (Finger, Cox and Jephcoat, J. Appl. Cryst. 27 (1994) 892, with S = H).
_NODES = 0.5 * (roots_jacobi(6, 1.0, 0.0)[0] + 1.0)
_SHARES = roots_jacobi(6, 1.0, 0.0)[1] / roots_jacobi(6, 1.0, 0.0)[1].sum()
#: Largest smear, as a share of the width, that is left out: its mean, a sixth of it, is far below the errors.
_UNSEEN = 0.15


@dataclass(frozen=True, slots=True)
class LineModel:
    """The lines' radiation and smear.

    wavelength, second: angstrom, the one that lines are placed by and another one or None; ratio: its
    intensity over the first's. axial: (S + H) / L, the axial divergence.
    """

    wavelength: float
    second: float | None = None
    ratio: float = 0.5
    axial: float = 0.0

    def partner(self, two_theta: Floats) -> Floats:
        """Angles of the second wavelength's lines, degrees; NaN past 180."""
        assert self.second is not None, "there is no second wavelength"
        s = np.sin(np.radians(two_theta / 2)) * self.second / self.wavelength
        return 2 * np.degrees(np.arcsin(np.where(s < 1.0, s, np.nan)))

    def smear(self, two_theta: Floats) -> Floats:
        """[k] degrees by which the outermost axial ray is recorded too low (too high above 90 degrees)."""
        tan = np.tan(np.radians(np.clip(two_theta, 1.0, 179.0)))
        return np.degrees(0.5 * self.axial**2 / np.where(np.abs(tan) < 0.02, 0.02, tan))


class PeakGroup:
    """Overlapped lines on a sloping background.

    Parameters: positions [k] and areas [k] of lines, log FWHM and Lorentzian share of all, background at
    both ends. x, y, noise: [n] the whole pattern; start [k]: degrees; fwhm: degrees, expected.
    """

    def __init__(
        self, x: Floats, y: Floats, noise: Floats, start: Floats, fwhm: float, lines: LineModel
    ) -> None:
        self.k = len(start)
        self.lines = lines
        self.fwhm0 = fwhm
        last = start[-1]
        if lines.second is not None:
            last = float(np.nan_to_num(lines.partner(start[-1:]), nan=last)[0])
        smear = 0.5 * max(float(lines.smear(start[:1])[0]), 0.0)
        low, high = start[0] - 2.5 * fwhm - smear, last + 2.5 * fwhm
        first, stop = np.searchsorted(x, [low, high])
        if stop - first < 2 * self.k + 5:
            missing = 2 * self.k + 5 - (stop - first)
            first, stop = max(0, first - missing), min(len(x), stop + missing)
        self.x, self.y, self.noise = x[first:stop], y[first:stop], noise[first:stop]
        self.start = start

    def _profile(self, at: Floats, fwhm: float, eta: float) -> tuple[Floats, Floats, Floats, Floats]:
        """[n, k] area-1 profiles and derivatives by position, log FWHM and eta."""
        smear = self.lines.smear(at)
        if self.lines.axial == 0.0 or np.abs(smear).max(initial=0.0) < _UNSEEN * fwhm:
            return self._symmetric(at, fwhm, eta)
        parts = [
            [share * part for part in self._symmetric(at - smear * node**2, fwhm, eta)]
            for node, share in zip(_NODES, _SHARES)
        ]
        value, by_at, by_width, by_eta = (np.sum(column, axis=0) for column in zip(*parts))
        return value, by_at, by_width, by_eta

    def _symmetric(self, at: Floats, fwhm: float, eta: float) -> tuple[Floats, Floats, Floats, Floats]:
        u = (self.x[:, None] - at) / fwhm
        lorentz = (2 / np.pi) / fwhm / (1 + 4 * u * u)
        gauss = np.sqrt(_FOUR_LN2 / np.pi) / fwhm * np.exp(-_FOUR_LN2 * u * u)
        value = eta * lorentz + (1 - eta) * gauss
        slope = -u * (eta * lorentz * 8 / (1 + 4 * u * u) + (1 - eta) * gauss * 2 * _FOUR_LN2)
        return value, -slope / fwhm, -(value + slope * u), lorentz - gauss

    def model(self, p: Floats) -> tuple[Floats, Floats]:
        """Calculated pattern [n] and its Jacobian [n, parameters]."""
        k = self.k
        at, area, fwhm, eta = p[:k], p[k : 2 * k], float(np.exp(p[2 * k])), float(p[2 * k + 1])
        value, by_at, by_width, by_eta = self._profile(at, fwhm, eta)
        if self.lines.second is not None:
            r = self.lines.ratio
            other = self._profile(np.nan_to_num(self.lines.partner(at), nan=1e3), fwhm, eta)
            value, by_at, by_width, by_eta = (
                (a + r * b) / (1 + r) for a, b in zip((value, by_at, by_width, by_eta), other, strict=True)
            )
        t = (self.x - self.x[0]) / max(self.x[-1] - self.x[0], 1e-9)
        jacobian = np.column_stack([by_at * area, value, by_width @ area, by_eta @ area, 1 - t, t])
        return value @ area + p[-2] * (1 - t) + p[-1] * t, jacobian

    def chi2(self, p: Floats) -> float:
        """Sum of squared weighted residuals."""
        return float((((self.y - self.model(p)[0]) / self.noise) ** 2).sum())

    def solve(self, rounds: int = 40) -> Floats:
        """Levenberg-Marquardt from the candidates; areas stay non-negative, lines near where they began."""
        k, fwhm0 = self.k, self.fwhm0
        ends = (float(np.percentile(self.y[: max(3, len(self.y) // 5)], 25)),)
        ends += (float(np.percentile(self.y[-max(3, len(self.y) // 5) :], 25)),)
        height = np.interp(self.start, self.x, self.y) - min(ends)
        p = np.concatenate([self.start, np.maximum(height, 0) * fwhm0, [np.log(fwhm0), 0.5], ends])
        reach = 0.5 * fwhm0 + 0.3 * np.abs(self.lines.smear(self.start))
        low = np.concatenate(
            [self.start - reach, np.zeros(k), [np.log(0.4 * fwhm0), 0.0], [-np.inf, -np.inf]]
        )
        high = np.concatenate(
            [self.start + reach, np.full(k, np.inf), [np.log(3.0 * fwhm0), 1.0], [np.inf, np.inf]]
        )
        damping, chi2 = 1e-3, self.chi2(p)
        for _ in range(rounds):
            calculated, jacobian = self.model(p)
            weighted = jacobian / self.noise[:, None]
            normal = weighted.T @ weighted
            gradient = weighted.T @ ((self.y - calculated) / self.noise)
            diagonal = np.diag(normal).copy()
            diagonal[diagonal <= 0] = 1.0
            improved = False
            for _ in range(5):
                try:
                    step = np.linalg.solve(
                        normal + np.diag(damping * diagonal + 1e-12 * diagonal.max()), gradient
                    )
                except np.linalg.LinAlgError:
                    damping *= 6
                    continue
                trial = np.clip(p + step, low, high)
                trial_chi2 = self.chi2(trial)
                if trial_chi2 < chi2:
                    improved = chi2 - trial_chi2 > 1e-5 * chi2
                    p, chi2, damping = trial, trial_chi2, max(damping / 5, 1e-9)
                    break
                damping *= 6
            if not improved:
                break
        return p

    def errors(self, p: Floats) -> tuple[Floats, Floats]:
        """Standard errors [parameters], and of the areas [k] were all lines' places and shapes known.

        Both are widened by the misfit where it is above 1. The second kind says whether a line is there at
        all: its place and width would mean nothing without it.
        """
        k = self.k
        weighted = self.model(p)[1] / self.noise[:, None]
        normal = weighted.T @ weighted
        freedom = max(len(self.x) - len(p), 1)
        widened = max(self.chi2(p) / freedom, 1.0)
        linear = np.r_[k : 2 * k, len(p) - 2, len(p) - 1]
        known = _diagonal_of_inverse(normal[np.ix_(linear, linear)])
        return np.sqrt(_diagonal_of_inverse(normal) * widened), np.sqrt(known[:k] * widened)


def _diagonal_of_inverse(normal: Floats) -> Floats:
    scale = np.sqrt(np.maximum(np.diag(normal), 1e-300))
    inverse = np.linalg.pinv(normal / np.outer(scale, scale), rcond=1e-10)
    return np.maximum(np.diag(inverse), 0) / scale**2
