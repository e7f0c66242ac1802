"""From a trained network to a challenger: calibrated, judged against the champion, its gates in the card."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from eg_agent.errors import BadInput
from eg_agent.model.checkpoint import Card, composition_file, load_checkpoint, read_card, write_together
from eg_agent.model.classifier import Classifier
from eg_agent.model.novelty import NoveltyReference, fit_novelty
from eg_agent.values import to_json
from simulators.corpus import Corpus
from trainer.novelty import FAR, KINDS, START, Simulator, direction_towards
from trainer.retrain.gates import as_json, in_words, judged, passed
from trainer.retrain.judge import Answers, Patterns, answers, compare, gathered
from trainer.retrain.recent import Recent

if TYPE_CHECKING:
    from trainer.retrain.rounds import Request

#: Simulated patterns for the novelty reference: ordinary ones of both kinds together, foreign ones a kind.
ORDINARY, FOREIGN = 1024, 128
#: Log-odds below which a composition contradicts a pattern, for a head whose match no longer holds: never.
NEVER = -1e9


def make_challenger(request: Request, folder: Path, trained: Path, recent: Recent, console: Console) -> Card:
    """Judge a trained network and write FOLDER/challenger.* with its calibration and what the gates said."""
    judge = recent.split(request.share)[1]
    champion = Classifier.load(folder / "champion.json", request.prior)
    challenger = Classifier.load(trained, request.prior)
    if challenger.grid != champion.grid:
        raise BadInput(
            f"{trained} reads another grid than {champion.card.name}: a challenger must read the same, since "
            "both answer for the same projected patterns."
        )
    benchmark = None
    if request.data is not None:
        from trainer.benchmark.data import Folder

        benchmark = Folder(request.data)
    patterns = gathered(judge, champion, benchmark)
    mine = answers(challenger, patterns, prior=request.prior, seed=request.seed)
    theirs = answers(champion, patterns, prior=request.prior, seed=request.seed)
    coverage = champion.card.sets.coverage
    figures = compare(mine, theirs, patterns, coverage=coverage, seed=request.seed)
    gates = judged(request.gates, figures)
    for gate in gates:
        console.print(in_words(gate), soft_wrap=True, markup=False)
    promotion = {
        "round": folder.name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "passed": passed(gates),
        "champion": {
            "name": champion.card.name,
            "hash": champion.card.hash,
            "weights_sha256": champion.card.weights_sha256,
        },
        "gates": as_json(gates),
        "figures": figures,
        "data": _data(request, recent),
        "settings": {**request.asked, "made_elsewhere": request.challenger is not None},
    }
    card = _card(request, folder, challenger, mine, patterns, promotion)
    _write(folder, trained, champion, card)
    return card


def _data(request: Request, recent: Recent) -> dict[str, Any]:
    """Where the patterns came from, run by run."""
    train, judge = recent.split(request.share)

    def of(side: Recent) -> dict[str, Any]:
        return {
            "runs": [run.run for run in side.runs],
            "compounds": sorted(set(side.compounds)),
            "labelled_with": sorted({run.checkpoint for run in side.runs}),
        }

    return {
        "tiled": request.asked["tiled"],
        "trained_on": of(train),
        "calibrated_and_judged_on": of(judge),
        "left_out": recent.refused,
    }


def _card(
    request: Request,
    folder: Path,
    challenger: Classifier,
    mine: Answers,
    patterns: Patterns,
    promotion: dict[str, Any],
) -> Card:
    """The trained card with a calibration on all that judged, a novelty reference, and the gates."""
    old, elsewhere = read_card(folder / "champion.json"), request.challenger is not None
    card, fitted = challenger.card, mine.fitted
    count = len(set(patterns.compounds))
    recent = promotion["figures"]["recent"]
    bundle = folder / "bundle.npz"
    novelty = card.novelty
    if bundle.is_file() and not elsewhere:
        novelty = novelty_of(challenger, bundle)
    chemistry = old.composition if _same_features(old, card) else None
    if chemistry is not None and card.weights_sha256 != old.weights_sha256:
        chemistry = replace(chemistry, contradiction=(NEVER, NEVER), noticed=(0.0, 0.0))
    return replace(
        card,
        name=f"{old.name.partition('+')[0]}+{folder.name}",
        description=f"{old.name} ({old.hash}), trained further on verified runs of one or a few instruments"
        + (f", averaged with {request.keep:g} of its weights." if request.keep and not elsewhere else "."),
        calibration=fitted.calibration,
        calibrated_on=f"{len(patterns.labels)} patterns of {count} compounds: verified runs"
        + (" and the benchmark" if (~patterns.recent).any() else ""),
        sets=fitted.sets,
        log_prior=tuple(float(v) for v in np.round(fitted.log_prior, 5)),
        prior=fitted.prior_name,
        novelty=novelty,
        library=old.library,
        composition=chemistry,
        expected={
            "judged": f"out of fold, by compound, seed {request.seed}",
            "date": promotion["date"][:10],
            "data": f"verified runs of {folder.name}",
            "patterns": recent["n"],
            "compounds": recent["compounds"],
            "coverage": recent["sets"]["set_coverage"]["value"],
            "coverage_interval": [recent["sets"]["set_coverage"][end] for end in ("low", "high")],
            "set_size": recent["sets"]["set_size"]["value"],
            "ece": recent["ece"][0],
            "ece_expected": recent["ece"][1:],
        },
        benchmark={},
        limits=(
            *old.limits,
            "Trained further on runs of one beamline: its gains are measured there. A composition that "
            "contradicts the pattern is not noticed.",
        ),
        promotion=promotion,
    )


def _same_features(one: Card, other: Card) -> bool:
    """Whether a composition head of one network can stand beside another: its sum needs no features."""
    return asdict(one.architecture) == asdict(other.architecture)


def novelty_of(classifier: Classifier, bundle: Path) -> NoveltyReference:
    """What the network was made for: held-out structures as its curriculum shows them, and on the instruments
    of the verified runs; foreign are the kinds of `trainer.novelty`."""
    import json

    from simulators.stream_config import StreamConfig
    from trainer.data import CURRICULA
    from trainer.retrain.bundle import _STREAM

    with np.load(bundle, allow_pickle=False) as data:
        corpus = Corpus(**{f.name: data[f.name] for f in fields(Corpus)})
        settings = json.loads(data["retrain"].tobytes())
    focus: StreamConfig = _STREAM.validate_json(json.dumps(settings["focus"]))

    def apart(config: StreamConfig) -> StreamConfig:
        return replace(config, sampling=replace(config.sampling, split="held_out"))

    stages = [apart(CURRICULA[settings["general"]]()), apart(focus)]
    simulator = Simulator(replace(classifier, card=replace(classifier.card, novelty=None)), corpus)
    usual = [simulator.features(stage, ORDINARY // 2, START + k * FAR) for k, stage in enumerate(stages)]
    both = np.stack(usual, axis=1).reshape(-1, usual[0].shape[1])
    # even rows are fitted on, odd ones judge: both kinds among either
    both = both.reshape(-1, 4, both.shape[1])[:, [0, 1, 3, 2]].reshape(-1, both.shape[1])
    strange = {
        kind: simulator.features(stages[0], FOREIGN, START + (k + 2) * FAR, rate)
        for k, (kind, rate) in enumerate(KINDS.items())
    }
    return fit_novelty(
        both,
        fitted_on=f"{len(both)} simulated patterns of held-out structures, half on the instruments of "
        f"verified runs, {FOREIGN} foreign ones a kind",
        direction=direction_towards(both[::2], [rows[::2] for rows in strange.values()]),
        foreign={kind: rows[1::2] for kind, rows in strange.items()},
    )


def _write(folder: Path, trained: Path, champion: Classifier, card: Card) -> None:
    """Weights, head and card, all or none; the card last, since it says that they are there."""
    target = folder / "challenger.json"
    contents = {target.with_suffix(".safetensors"): trained.with_suffix(".safetensors").read_bytes()}
    if card.composition is not None:
        contents[composition_file(target)] = composition_file(folder / "champion.json").read_bytes()
    contents[target] = (to_json(card, indent=1) + "\n").encode()
    write_together(contents)
    load_checkpoint(target)
