"""From crystals to measured-looking powder patterns, one at a time or in batches without end.

`Crystal`, `crystal_from_cif`, `random_crystal` make structures; `peak_list` their peaks; `simulate`
and `expected_counts` one pattern at full quality; `Corpus` and `PatternStream` training patterns.
Names load when they are first used, so importing this package is cheap (no torch).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulators.background import Background, Hump, Wandering
    from simulators.corpus import Corpus
    from simulators.counting import Detector
    from simulators.crystal import Crystal, Operations
    from simulators.crystal_source import CrystalSource, RealSource
    from simulators.diffractometer import SimDiffractometer
    from simulators.instrument import Instrument, laboratory, neutron_reactor, synchrotron
    from simulators.measurement import Rate, expected_counts, expected_rate, simulate
    from simulators.peak_source import CorpusSource, MixedSource, Peaks, PeakSource
    from simulators.perturbation import Perturbation, perturbed
    from simulators.preparation import PreparationConfig, prepare
    from simulators.processing import Processing, process
    from simulators.pyxtal_source import PyXtalSource
    from simulators.random_crystals import random_crystal
    from simulators.replay import ReplayDiffractometer
    from simulators.samples import DrawnSample, draw
    from simulators.scattering import PeakList, peak_list
    from simulators.specimen import Broadening, Grains, Impurity, Roughness, Specimen, Texture
    from simulators.stephens import AnisotropicStrain
    from simulators.stream import Batch, PatternStream
    from simulators.stream_config import StreamConfig, beamline, stage1, stage2, texture
    from simulators.structures import computed_crystals, crystal_from_cif, mineral_crystals
    from simulators.textbook import hold_out
    from simulators.wyckoff.config import WyckoffConfig
    from simulators.wyckoff.source import WyckoffSource

_HOME = {
    "AnisotropicStrain": "stephens",
    "Background": "background",
    "Batch": "stream",
    "Broadening": "specimen",
    "Corpus": "corpus",
    "CorpusSource": "peak_source",
    "Crystal": "crystal",
    "CrystalSource": "crystal_source",
    "Detector": "counting",
    "DrawnSample": "samples",
    "Grains": "specimen",
    "Hump": "background",
    "Impurity": "specimen",
    "Instrument": "instrument",
    "MixedSource": "peak_source",
    "Operations": "crystal",
    "PatternStream": "stream",
    "PeakList": "scattering",
    "PeakSource": "peak_source",
    "Peaks": "peak_source",
    "Perturbation": "perturbation",
    "PreparationConfig": "preparation",
    "Processing": "processing",
    "PyXtalSource": "pyxtal_source",
    "Rate": "measurement",
    "RealSource": "crystal_source",
    "ReplayDiffractometer": "replay",
    "Roughness": "specimen",
    "SimDiffractometer": "diffractometer",
    "Specimen": "specimen",
    "StreamConfig": "stream_config",
    "Texture": "specimen",
    "Wandering": "background",
    "WyckoffConfig": "wyckoff.config",
    "WyckoffSource": "wyckoff.source",
    "beamline": "stream_config",
    "computed_crystals": "structures",
    "crystal_from_cif": "structures",
    "draw": "samples",
    "expected_counts": "measurement",
    "expected_rate": "measurement",
    "hold_out": "textbook",
    "laboratory": "instrument",
    "mineral_crystals": "structures",
    "neutron_reactor": "instrument",
    "peak_list": "scattering",
    "perturbed": "perturbation",
    "prepare": "preparation",
    "process": "processing",
    "random_crystal": "random_crystals",
    "simulate": "measurement",
    "stage1": "stream_config",
    "stage2": "stream_config",
    "synchrotron": "instrument",
    "texture": "stream_config",
}

__all__ = [
    "AnisotropicStrain",
    "Background",
    "Batch",
    "Broadening",
    "Corpus",
    "CorpusSource",
    "Crystal",
    "CrystalSource",
    "Detector",
    "DrawnSample",
    "Grains",
    "Hump",
    "Impurity",
    "Instrument",
    "MixedSource",
    "Operations",
    "PatternStream",
    "PeakList",
    "PeakSource",
    "Peaks",
    "Perturbation",
    "PreparationConfig",
    "Processing",
    "PyXtalSource",
    "Rate",
    "RealSource",
    "ReplayDiffractometer",
    "Roughness",
    "SimDiffractometer",
    "Specimen",
    "StreamConfig",
    "Texture",
    "Wandering",
    "WyckoffConfig",
    "WyckoffSource",
    "beamline",
    "computed_crystals",
    "crystal_from_cif",
    "draw",
    "expected_counts",
    "expected_rate",
    "hold_out",
    "laboratory",
    "mineral_crystals",
    "neutron_reactor",
    "peak_list",
    "perturbed",
    "prepare",
    "process",
    "random_crystal",
    "simulate",
    "stage1",
    "stage2",
    "synchrotron",
    "texture",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"simulators.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
