"""A trained checkpoint on the measured rows, for the tables that need no training of their own.

DIR/runs/shipped-x0-s0/ holds what a run's folder holds (`trainer.reproduce.running`), without weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadPattern
from eg_agent.model import Classifier
from eg_agent.model.checkpoint import write_atomically
from eg_agent.model.network import N_LATTICES, N_SYSTEMS
from eg_agent.patterns import check
from eg_agent.symmetry import published_codes
from trainer.benchmark import Case, Folder
from trainer.reproduce.plan import SHIPPED
from trainer.reproduce.running import bits_alone, finished, folder_of, signal_to_noise

#: Shuffles of the null of the split head's validity.
SHUFFLES = 20

Scores = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Request:
    """checkpoint: name or file. data: folder of measured patterns. limit: rows, None for all.

    seconds: at most for the fit of one pattern with a known cell.
    """

    checkpoint: str
    data: Path
    limit: int | None = None
    seconds: float = 5.0


def judge_shipped(request: Request, out: Path, say: Callable[[str], None]) -> None:
    """Answer the measured rows and fit those with a known cell, unless this checkpoint already did."""
    classifier = Classifier.load(request.checkpoint)
    asked = {"checkpoint": classifier.checkpoint_hash, "data": request.data.name, "limit": request.limit}
    before = finished(SHIPPED, out)
    if before is not None and {name: before.get(name) for name in asked} == asked:
        return
    say(f"answering measured patterns with {request.checkpoint} ({classifier.checkpoint_hash})")
    folder = Folder(request.data)
    cases = folder.cases("benchmark", limit=request.limit)
    answers, bits = answer(classifier, folder, cases)
    labels = answers["real_label"]
    answers["real_rwp"] = fit_quality(folder, cases, request.seconds)
    result = {
        **asked,
        "spec": asdict(SHIPPED),
        "patterns": 0,
        "name": request.checkpoint,
        "size": classifier.card.size,
        "parameters": classifier.network.parameters_count,
        "seen": classifier.card.cost.get("patterns"),
        "calibration": asdict(classifier.calibration),
        "split_valid_measured": split_validity(bits, labels[answers["real_answered"]]),
        "measured": True,
    }
    buffer = BytesIO()
    np.savez_compressed(buffer, **answers, train_prior=classifier.log_train_prior)  # pyright: ignore[reportArgumentType]
    target = folder_of(SHIPPED, out)
    target.mkdir(parents=True, exist_ok=True)
    write_atomically(target / "scores.npz", buffer.getvalue())
    write_atomically(target / "result.json", (json.dumps(result, indent=1) + "\n").encode())


def answer(
    classifier: Classifier, folder: Folder, cases: Sequence[Case]
) -> tuple[Scores, npt.NDArray[np.int64]]:
    """Raw answers, named as by `trainer.reproduce.running.measured`, and bits [answered, 37] read alone."""
    import torch

    n = len(cases)
    split, aux = np.zeros((2, n, 99))
    novelty, answered, bits = np.zeros(n), np.zeros(n, dtype=bool), []
    raw: list[torch.Tensor] = []
    hook = classifier.network.register_forward_hook(lambda _, __, heads: raw.append(heads.split))
    try:
        for i, case in enumerate(cases):
            raw.clear()
            try:
                found = classifier.outputs([check(folder.pattern(case))])
            except BadPattern:
                continue
            split[i], aux[i], novelty[i], answered[i] = found.split[0], found.aux[0], found.novelty[0], True
            bits.append(bits_alone(classifier.network, raw[0])[0])
    finally:
        hook.remove()
    scores: Scores = {
        "real_split": split,
        "real_aux": aux,
        "real_novelty": novelty,
        "real_label": np.array([case.group - 1 for case in cases]),
        "real_answered": answered,
        "real_compound": np.array([case.compound for case in cases]),
        "real_source": np.array([case.source for case in cases]),
        "real_signal": np.array([signal_to_noise(folder.points(case.id)[1]) for case in cases]),
    }
    return scores, np.array(bits, dtype=np.int64).reshape(-1, N_SYSTEMS + N_LATTICES + 25)


def fit_quality(folder: Folder, cases: Sequence[Case], seconds: float) -> npt.NDArray[np.float64]:
    """[n] Rwp (per cent) of a Pawley fit in the absence-free lattice of the known cell; NaN without one."""
    from eg_agent.verify import verify
    from eg_agent.verify.settings import VerifySettings

    settings = VerifySettings(time_limit=seconds)
    found = np.full(len(cases), np.nan)
    for i, case in enumerate(cases):
        if case.cell is None:
            continue
        try:
            evidence = verify(check(folder.pattern(case)), case.cell, settings=settings)
        except BadPattern:
            continue
        found[i] = np.nan if evidence.rwp is None else evidence.rwp
    return found


def split_validity(
    bits: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], seed: int = 0
) -> dict[str, float]:
    """Share of patterns whose bits [n, 37] are one of the 99 codes, and the true one.

    null: the same with crystal system, lattice and every operator taken from patterns drawn for each apart:
    every bit is as common as before, and none knows of another.
    """
    codes = np.array(published_codes(), dtype=np.int64)

    def codes_of(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        return (rows[:, None, :] == codes).all(2)

    same = codes_of(bits)
    parts = [
        slice(0, N_SYSTEMS),
        slice(N_SYSTEMS, N_SYSTEMS + N_LATTICES),
        *(slice(k, k + 1) for k in range(N_SYSTEMS + N_LATTICES, bits.shape[1])),
    ]
    rng = np.random.default_rng(seed)
    null = [
        codes_of(np.hstack([bits[rng.permutation(len(bits)), part] for part in parts])).any(1).mean()
        for _ in range(SHUFFLES)
    ]
    return {
        "valid": float(same.any(1).mean()),
        "right": float(same[np.arange(len(bits)), labels].mean()),
        "null": float(np.mean(null)),
    }
