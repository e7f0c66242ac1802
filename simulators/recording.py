"""What can be counted again from one measured pattern: photons dealt out of it, or drawn from a fit to it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput
from eg_agent.patterns import Pattern
from eg_agent.patterns.peaktest import noise_level

Array = npt.NDArray[np.float64]

#: Counts a second given to the highest point of a pattern whose own scale is not known.
PEAK_RATE = 1000.0
#: Half widths in points of the local fits that `smooth` chooses from.
_HALF_WIDTHS = (2, 3, 5, 8, 13, 21, 34)
#: Standard deviations within which fits of different width agree (Lepski's rule).
_AGREE = 2.0


@dataclass(slots=True)
class Recording:
    """The photons of a measured pattern, dealt out as they are asked for.

    pattern: raw counts are dealt out, everything else is fitted and drawn again.
    seconds: [n] or a number, recorded time at each point; None takes the pattern's counting time, or 1 s.
    peak_rate: counts a second at the highest point of data that are not raw counts; None: from their
        standard errors where they have them, else 1000.
    beyond: once all recorded photons of a point are dealt out, "limit" gives no more of it and
        "resample" draws from the fit.

    A part t of a recorded time T holds each of the n photons with probability t / T (a Poisson process
    knows no order): the counts are binomial, their variance over recordings is that of Poisson, and the
    parts of one recording are independent and add up to it exactly.
    """

    pattern: Pattern
    seconds: float | None = None
    peak_rate: float | None = None
    beyond: str = "limit"
    raw: bool = field(init=False)
    time: Array = field(init=False)
    note: str = field(init=False, default="")
    _left: Array = field(init=False)
    _time_left: Array = field(init=False)
    _rate: Array | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.beyond not in ("limit", "resample"):
            raise BadInput(f"beyond is 'limit' or 'resample', not {self.beyond!r}.")
        y = self.pattern.intensity
        self.raw = bool(self.pattern.raw_counts and np.all(y >= 0.0) and np.all(y == np.round(y)))
        time = self.pattern.counting_time
        if self.seconds is not None:
            time = np.full(y.size, float(self.seconds))
        elif time is None:
            time = np.ones(y.size)
            self.note = "its counting time is not known and was taken as 1 s a point"
        if not np.all(time > 0.0):
            raise BadInput("the recorded counting times must be above 0 seconds.")
        self.time = np.array(time, dtype=np.float64)
        self.rewind()

    @property
    def origin(self) -> str:
        """How counts come about, for the metadata of what is measured."""
        if self.raw:
            more = ", beyond that Poisson counts of a fit" if self.beyond == "resample" else ""
            text = f"raw counts thinned binomially from {np.median(self.time):.6g} s a point{more}"
        else:
            text = "Poisson counts resampled from a smooth fit, as the recorded intensities are no raw counts"
        return f"{text}; {self.note}" if self.note else text

    @property
    def rate(self) -> Array:
        """[n] counts a second of the smooth fit."""
        if self._rate is None:
            self._rate = self._fit()
        return self._rate

    def rewind(self) -> None:
        """Put all recorded photons back."""
        self._left = self.pattern.intensity.copy()
        self._time_left = self.time.copy()

    def available(self, index: npt.NDArray[np.int64], seconds: float) -> Array:
        """[k] seconds that can be counted at the points `index` [k] when `seconds` are asked for."""
        if not self.raw or self.beyond == "resample":
            return np.full(index.size, seconds)
        return np.minimum(seconds, self._time_left[index])

    def deal(
        self, index: npt.NDArray[np.int64], seconds: float, rng: np.random.Generator
    ) -> tuple[Array, Array]:
        """Counts [k] and the seconds [k] they were counted in, at the points `index` [k].

        With beyond="limit" the seconds are what was left of the recording, where that is less than was
        asked for, and 0 where nothing was.
        """
        given = self.available(index, seconds)
        if not self.raw:
            return rng.poisson(self.rate[index] * seconds).astype(np.float64), given
        left, time_left = self._left[index], self._time_left[index]
        given = np.minimum(given, time_left)
        # what remains of a recording by rounding is no photon's time
        given = np.where(time_left - given < 1e-9 * self.time[index], time_left, given)
        share = np.divide(given, time_left, out=np.zeros_like(given), where=time_left > 0.0)
        counts = rng.binomial(left.astype(np.int64), np.minimum(share, 1.0)).astype(np.float64)
        self._left[index] = left - counts
        self._time_left[index] = time_left - given
        if self.beyond == "limit":
            return counts, given
        extra = np.maximum(seconds - given, 0.0)
        if np.any(extra > 0.0):
            counts = counts + rng.poisson(self.rate[index] * extra)
        return counts, np.full(index.size, seconds)

    def _fit(self) -> Array:
        y, sigma = self.pattern.intensity, self.pattern.sigma
        if self.raw:
            return np.maximum(smooth(y, np.sqrt(np.maximum(y, 1.0))), 0.0) / self.time
        noise = noise_level(y) if sigma is None else np.maximum(sigma, noise_level(y) * 0.1)
        fitted = np.maximum(smooth(y, noise), 0.0)
        if fitted.max() <= 0.0:
            raise BadInput("the recorded pattern is nowhere above 0: nothing can be counted from it.")
        if self.peak_rate is not None:
            return fitted * (self.peak_rate / fitted.max())
        if sigma is not None and np.any(sigma > 0.0):
            good = (sigma > 0.0) & (fitted > 0.0)
            # counts of a variance as recorded: intensity = gain * counts, sigma^2 = gain * intensity
            gain = float(np.median(sigma[good] ** 2 / fitted[good]))
            return fitted / gain / self.time
        return fitted * (PEAK_RATE / fitted.max())


def smooth(y: Array, sigma: Array) -> Array:
    """The curve behind noisy values [n]: at each point a local parabola as wide as the data allow.

    sigma: [n] standard deviation of the noise. Of parabolas over 5 to 69 points, the widest is taken whose
    confidence interval meets those of all narrower ones (intersection of confidence intervals;
    Goldenshluger and Nemirovski 1997, Math. Methods Stat. 6, 135): narrow on peaks, wide between.
    """
    from scipy.signal import savgol_coeffs, savgol_filter

    best = y.copy()
    low, high = np.full(y.size, -np.inf), np.full(y.size, np.inf)
    alive = np.ones(y.size, dtype=bool)
    for half in _HALF_WIDTHS:
        width = 2 * half + 1
        if width > y.size:
            break
        fitted = np.asarray(savgol_filter(y, width, 2), dtype=np.float64)
        weights = np.asarray(savgol_coeffs(width, 2), dtype=np.float64)
        error = np.sqrt(np.convolve(np.pad(sigma**2, half, mode="edge"), weights**2, mode="valid"))
        low = np.maximum(low, fitted - _AGREE * error)
        high = np.minimum(high, fitted + _AGREE * error)
        alive &= low <= high
        if not alive.any():
            break
        best[alive] = fitted[alive]
    return best
