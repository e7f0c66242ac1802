"""The pipeline on the pattern alone, its costly part kept: cells and fits of a row are worked out once.

With a folder for it (`--cache`), what was tried for each row is written to ID.json there as soon as it is
known, so that a stopped run goes on, and fusion and calibration can be studied on arrays. The network is not
kept: it costs little, and another checkpoint can be judged with the same cells. (It gives the order in which
lattices are searched, which matters where the time limit ends a search.)
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import numpy as np
from pydantic import ConfigDict, ValidationError

from eg_agent import __version__
from eg_agent.errors import BadInput
from eg_agent.identify.fusion import fuse
from eg_agent.identify.mixture import MixtureConstants
from eg_agent.identify.settings import IdentifySettings
from eg_agent.identify.unknown_cell import Search, Tried, as_arrays, try_cells, weigh_cells
from eg_agent.patterns.pattern import Pattern
from eg_agent.values import VALUE_CONFIG, from_json, to_json
from trainer.benchmark.data import Case
from trainer.benchmark.pipeline_folds import raw_of_cells
from trainer.benchmark.running import Answer, Predictor

#: Settings that the kept cells depend on.
KEPT_WITH = ("index_seconds", "index_cells", "index_behind", "time_limit")


@dataclass(frozen=True, eq=False)
class Kept:
    """What is kept of a row: the search for its cell, and the seconds that took."""

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    id: str
    search: Search
    seconds: float


class Cache:
    """A folder of kept rows, made with one set of settings.

    Raises BadInput where the folder holds rows of other settings, or cannot be written.
    """

    def __init__(self, folder: Path, settings: IdentifySettings) -> None:
        self.folder = folder
        wanted = {name: getattr(settings, name) for name in KEPT_WITH}
        about = folder / "about.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not about.exists():
                about.write_text(json.dumps(wanted | {"version": __version__}), "utf-8")
            found = json.loads(about.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise BadInput(f"{folder} cannot hold kept rows ({error}): give another folder.") from None
        other = [name for name in KEPT_WITH if found.get(name) != wanted[name]]
        if other:
            raise BadInput(
                f"{folder} holds rows made with {other[0]} {found.get(other[0])}, not {wanted[other[0]]}: "
                "give another folder, or the same settings."
            )

    def get(self, name: str) -> Kept | None:
        """The kept row of an id; None where there is none, or none that can be read."""
        path = self._path(name)
        try:
            return from_json(Kept, path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise BadInput(f"{path} is no kept row ({type(error).__name__}): delete it.") from None

    def put(self, row: Kept) -> None:
        """Keep a row; a run that is stopped while writing leaves no half of one."""
        path = self._path(row.id)
        part = path.with_suffix(".part")
        part.write_text(to_json(row), "utf-8")
        part.replace(path)

    def _path(self, name: str) -> Path:
        return self.folder / f"{quote(name, safe='')}.json"


@dataclass(frozen=True)
class PipelineRecipe:
    """Network, indexing, fits and fusion of the pattern alone. Raw outputs of all of them are kept in `raw`:

    split, aux [99] and novelty [1] of the network, and network [99], its posterior as shipped; the cells
    whose fit stands (`raw_of_cells`); lookup [99] where there is a library.
    """

    checkpoint: str
    prior: str
    seconds: float
    library: str | None = None
    cache: str | None = None

    def __call__(self) -> Predictor:
        import torch

        from eg_agent.identify import Identifier
        from eg_agent.patterns import check, evened

        torch.set_num_threads(1)
        settings = IdentifySettings(index_seconds=self.seconds)
        identifier = Identifier(self.checkpoint, self.prior, settings, library=self.library)
        cache = None if self.cache is None else Cache(Path(self.cache), settings)
        classifier = identifier.classifier

        def predictor(pattern: Pattern, case: Case) -> Answer:
            started = time.perf_counter()
            pattern = evened(check(pattern))
            out = classifier.outputs([pattern])
            network = classifier.log_probability(out)[0]
            lookup = identifier.lookup(pattern)
            known = None
            if lookup is not None:
                known = classifier.card.library.added(network, classifier.log_prior, lookup.log_probability)
            before = fuse(network, None, settings, known)
            kept = None if cache is None else cache.get(case.id)
            earlier = 0.0 if kept is None else kept.seconds
            if kept is None:
                begun = time.perf_counter()
                search = bare(try_cells(pattern, before, settings, identifier.library))
                kept = Kept(case.id, search, time.perf_counter() - begun)
                if cache is not None:
                    cache.put(kept)
            weighed = weigh_cells(kept.search, before, MixtureConstants(power=settings.evidence_weight))
            raw = raw_of_cells(as_arrays(kept.search)) | {
                "network": np.asarray(network),
                "split": out.split[0],
                "aux": out.aux[0],
                "novelty": out.novelty,
            }
            if lookup is not None:
                raw["lookup"] = np.asarray(lookup.log_probability)
            return Answer(
                weighed.fused,
                weighed.alone,
                raw=raw,
                seconds=time.perf_counter() - started + earlier,
            )

        return predictor


def bare(search: Search) -> Search:
    """A search without what fusion does not need: the curves and the deciding reflections."""
    return replace(search, tried=tuple(_bare(one) for one in search.tried))


def _bare(one: Tried) -> Tried:
    candidates = tuple(replace(c, deciding=()) for c in one.evidence.candidates)
    return replace(one, evidence=replace(one.evidence, fit=None, candidates=candidates))
