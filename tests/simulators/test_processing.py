"""Processing: what it does to a pattern, what the pattern then says of itself, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from eg_agent.errors import BadInput
from eg_agent.patterns import Pattern, Radiation, check
from simulators.background import Background, Hump
from simulators.instrument import Instrument
from simulators.measurement import expected_counts, simulate
from simulators.processing import Processing, polynomial_background, process, snip, strip_kalpha2
from simulators.specimen import Specimen
from simulators.textbook import textbook

CU, CU1 = Radiation.anode("Cu"), Radiation.anode("Cu", kalpha2=False)
AXIS = np.arange(15.0, 90.0, 0.02)
BARE = Specimen(background=Background(flat=0.0, air=0.0))


def measured(**changes) -> Pattern:
    specimen = Specimen(background=Background(flat=0.05, air=0.1, humps=(Hump(0.05),)))
    return simulate(
        textbook()[0], CU, AXIS, np.random.default_rng(1), specimen=specimen, peak_rate=3000.0, **changes
    )


def test_a_processed_pattern_says_so_and_passes_the_checks():
    raw = measured()
    done = process(raw, Processing(smooth=7, background="snip", clip=True, normalise=100.0))
    assert raw.raw_counts
    assert not done.raw_counts
    assert done.intensity.max() == pytest.approx(100.0)
    assert done.intensity.min() == 0.0
    assert len(done.source.notes) == 4
    assert check(done) is not None
    kept = process(raw, Processing())
    assert np.array_equal(kept.intensity, raw.intensity)
    assert not kept.raw_counts


@pytest.mark.parametrize("method", ["snip", "polynomial"])
def test_backgrounds_are_found_under_peaks(method):
    specimen = Specimen(background=Background(flat=0.05, air=0.05))
    with_background = expected_counts(textbook()[0], CU, AXIS, specimen=specimen, peak_rate=5000.0)
    alone = expected_counts(textbook()[0], CU, AXIS, specimen=BARE, peak_rate=5000.0)
    truth = with_background - alone
    found = (
        snip(AXIS, with_background, 2.0)
        if method == "snip"
        else polynomial_background(AXIS, with_background, 6)
    )
    inner = (AXIS > 18) & (AXIS < 87)
    off = (found - truth)[inner] / 5000.0
    assert np.median(np.abs(off)) < 0.005
    assert np.abs(off).max() < 0.03


def test_stripping_leaves_kalpha1():
    """Instrument widths that depend on wavelength alone through the angle: the recursion is then exact."""
    instrument = Instrument(u=0.002, v=0.0, w=0.002, x=0.005, y=0.01)
    both = expected_counts(textbook()[0], CU, AXIS, specimen=BARE, instrument=instrument)
    alone = expected_counts(textbook()[0], CU1, AXIS, specimen=BARE, instrument=instrument)
    stripped = strip_kalpha2(AXIS, both, CU)
    assert np.abs(stripped / stripped.max() - alone / alone.max()).max() < 0.03
    pattern = Pattern(AXIS, both, CU)
    assert process(pattern, Processing(strip_kalpha2=True)).radiation.wavelengths == CU1.wavelengths
    with pytest.raises(BadInput, match="no K-alpha2"):
        process(Pattern(AXIS, both, CU1), Processing(strip_kalpha2=True))


def test_errors_are_scaled_or_dropped():
    raw = measured()
    pattern = Pattern(AXIS, raw.intensity, CU, sigma=np.sqrt(np.maximum(raw.intensity, 1.0)))
    scaled = process(pattern, Processing(normalise=1.0))
    assert scaled.sigma is not None
    assert pattern.sigma is not None
    assert np.allclose(scaled.sigma / scaled.intensity.max(), pattern.sigma / pattern.intensity.max())
    assert process(pattern, Processing(smooth=5)).sigma is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Processing(smooth=4), "odd number"),
        (lambda: Processing(background="rolling"), "unknown"),  # pyright: ignore[reportArgumentType]
        (lambda: Processing(background_width=0.0), "background_width"),
        (lambda: Processing(normalise=-1.0), "normalise"),
        (lambda: process(Pattern(AXIS[:3], AXIS[:3], CU), Processing(smooth=5)), "the pattern has 3"),
    ],
)
def test_wrong_input_is_one_sentence(make, message):
    with pytest.raises(BadInput, match=message):
        make()
