"""Calling a predictor on many patterns, in this process or in several, and keeping what it said."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

from eg_agent.errors import BadPattern
from eg_agent.patterns.pattern import Pattern
from trainer.benchmark.data import Case, Folder
from trainer.metrics import FloatMatrix, normalise


@dataclass(frozen=True, eq=False)
class Answer:
    """What a predictor says of one pattern.

    log_probability: [99] nats, or None when the pattern was refused.
    evidence_only: [99] nats with a uniform prior, where there is such a thing.
    raw: what a calibration is fitted on, name -> array, where it was asked for.
    seconds: wall clock, where part of the work was done earlier and kept; None: as long as the call took.
    """

    log_probability: FloatMatrix | None
    evidence_only: FloatMatrix | None = None
    reason: str = ""
    raw: dict[str, FloatMatrix] | None = None
    seconds: float | None = None


#: One pattern and its case (for the cell) to an answer. The label is in the case: predictors of the
#: product do not read it.
Predictor = Callable[[Pattern, Case], Answer]


@dataclass(frozen=True, eq=False)
class Predictions:
    """Answers to all cases, in their order.

    seconds: [n] wall clock each. refused: (id, reason) of patterns without an answer.
    """

    answers: tuple[Answer, ...]
    seconds: FloatMatrix
    refused: tuple[tuple[str, str], ...]

    def log_probability(self, fallback: FloatMatrix) -> FloatMatrix:
        """[n, 99] normalised; a refused pattern counts with the `fallback` (the prior) as its answer."""
        return self._stack([a.log_probability for a in self.answers], fallback)

    def evidence_only(self) -> FloatMatrix | None:
        """[n, 99] normalised, uniform where there was no evidence; None when no predictor gave any."""
        found = [a.evidence_only for a in self.answers]
        if all(e is None for e in found):
            return None
        return self._stack(found, np.zeros((1, 99)))

    def raw(self, name: str, fallback: FloatMatrix) -> FloatMatrix:
        """[n, 99] normalised: a raw output; a refused pattern counts with the `fallback`."""
        return self._stack([None if a.raw is None else a.raw.get(name) for a in self.answers], fallback)

    def _stack(self, found: Sequence[FloatMatrix | None], fallback: FloatMatrix) -> FloatMatrix:
        fallback = np.broadcast_to(fallback, (len(found), fallback.shape[-1]))
        return normalise(np.array([fallback[i] if row is None else row for i, row in enumerate(found)]))


def _timed(predictor: Predictor, pattern: Pattern, case: Case) -> tuple[Answer, float]:
    start = time.perf_counter()
    try:
        answer = predictor(pattern, case)
    except BadPattern as error:
        answer = Answer(None, reason=str(error))
    return answer, time.perf_counter() - start if answer.seconds is None else answer.seconds


_PREDICTOR: Predictor | None = None


def _start(make: Callable[[], Predictor]) -> None:
    global _PREDICTOR
    _PREDICTOR = make()


def _one(task: tuple[Pattern, Case]) -> tuple[Answer, float]:
    assert _PREDICTOR is not None, "the worker was started without a predictor"
    return _timed(_PREDICTOR, *task)


def answers_of(
    make: Callable[[], Predictor], tasks: Iterable[tuple[Pattern, Case]], workers: int
) -> Iterator[tuple[Answer, float]]:
    """(answer, seconds) of each task, in order. `make` builds the predictor, once a process."""
    if workers <= 1:
        predictor = make()
        for pattern, case in tasks:
            yield _timed(predictor, pattern, case)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(make,)) as pool:
        yield from pool.map(_one, tasks, chunksize=1)


def predict(
    folder: Folder,
    cases: Sequence[Case],
    make: Callable[[], Predictor],
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Predictions:
    """Call a predictor on every case.

    make: builds the predictor; picklable when `workers` > 1 (it is called in each spawned process).
    progress: called with (done, all) after each.
    A pattern that the product refuses (BadPattern, or an answer without probabilities) is kept as such;
    any other exception is a bug and is raised.
    """
    tasks = ((folder.pattern(case), case) for case in cases)
    answers: list[Answer] = []
    seconds: list[float] = []
    for answer, took in answers_of(make, tasks, workers):
        answers.append(answer)
        seconds.append(took)
        if progress is not None:
            progress(len(answers), len(cases))
    refused = tuple(
        (c.id, a.reason) for c, a in zip(cases, answers, strict=True) if a.log_probability is None
    )
    return Predictions(tuple(answers), np.array(seconds), refused)
