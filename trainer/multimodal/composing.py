"""`eg-train composition`: a composition head for a trained network, calibrated on measured patterns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors

from eg_agent.errors import BadInput
from eg_agent.model import Classifier
from eg_agent.model.checkpoint import Card, save_composition, write_atomically
from eg_agent.model.composition import CompositionCard, CompositionHead
from eg_agent.model.composition_reader import CompositionReader
from eg_agent.model.fusion import apply
from simulators.corpus import COMPUTED, Corpus
from trainer.benchmark.classification import compounds_of, labels_of
from trainer.benchmark.composition import fitted_weights, told
from trainer.benchmark.data import Folder
from trainer.multimodal.chemistries import Compositions, of_corpus, of_index
from trainer.multimodal.composition_fit import (
    CompositionTraining,
    Known,
    held_out_figures,
    pool_prior,
    train_groups,
    train_match,
)
from trainer.multimodal.features import Split, made
from trainer.multimodal.remembering import fitted_trust, known_of

#: Share of right compositions of held-out structures that may be said to contradict their pattern.
FALSE_ALARMS = 0.02

Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What to make: see `eg-train composition`.

    checkpoint: a card that the head is put beside (a file: a shipped one is not written to).
    work: folder of the features, which a later run goes on from. index: parquet of formulas and space groups.
    data: labelled patterns with formulas, for the weights; None leaves them at 1.
    """

    checkpoint: Path
    corpus: Path
    work: Path
    index: Path | None = None
    data: Path | None = None
    patterns: int = 50_000
    held_out_patterns: int = 8_000
    training: CompositionTraining = field(default_factory=CompositionTraining)
    seed: int = 0


def compose(request: Request, say: Say, progress: Callable[[str, int, int], None]) -> Card:
    """Make features, train the head, fit its weights, and write it beside the checkpoint."""
    if request.checkpoint.suffix != ".json" or not request.checkpoint.is_file():
        raise BadInput(f"{request.checkpoint} is no card of a checkpoint: give its .json file.")
    # Before half an hour of training, not behind it.
    folder = None if request.data is None else Folder(request.data)
    classifier = Classifier.load(request.checkpoint)
    corpus = Corpus.load(request.corpus)
    request.work.mkdir(parents=True, exist_ok=True)
    compositions, row = of_corpus(corpus, request.seed)
    apart = torch.from_numpy(corpus.split[row >= 0] == 1)
    # Copies have elements that no chemistry put together in that structure: patterns, but no compositions.
    own = torch.from_numpy(~corpus.copied[row >= 0])
    pool = compositions.only(~apart & own)
    if request.index is not None:
        pool = pool.with_more(of_index(request.index))
    read = classifier.network.aux_head.in_features
    training = replace(request.training, network=replace(request.training.network, features=read))
    head = groups_learned(request, pool, training, progress)
    wanted: tuple[tuple[Split, int], ...] = (
        ("held_out", request.held_out_patterns),
        ("train", request.patterns),
    )
    features = {
        split: made(
            request.work / f"{split}.npz",
            classifier,
            corpus,
            count,
            split,
            seed=request.seed,
            progress=lambda done, total, split=split: progress(f"{split} features", done, total),
        )
        for split, count in wanted
    }
    known = {split: Known.of(found, row) for split, found in features.items()}
    steps = training.match_steps
    head = train_match(
        head,
        known["train"],
        compositions,
        training,
        lambda step, loss: progress(f"match, loss {loss:.3f}", step, steps),
    )
    figures = held_out_figures(head, pool, compositions.only(apart & own), known["held_out"], compositions)
    for name, value in figures.items():
        say(f"held out, {name}: {value:.4g}")
    # Computed structures, and the index: not the minerals, whose licences differ from row to row, nor the
    # molecular crystals, whose compositions nobody found in that group.
    looked_up = own & torch.from_numpy(corpus.source[row >= 0] == COMPUTED)
    reader, looked_up_figures = remembering(request, head, compositions, looked_up, apart, pool, say)
    limits, noticed = contradiction(head, known["held_out"], compositions, request.seed)
    about = CompositionCard(
        config=head.config,
        contradiction=limits,
        noticed=noticed,
        trained_on=f"{len(pool):,} compositions of {request.corpus.stem}"
        + ("" if request.index is None else f" and {request.index.stem}")
        + f"; {len(features['train']):,} patterns",
        held_out=figures | looked_up_figures,
    )
    if folder is not None:
        about = weighed(folder, replace(classifier, composition=reader), about)
    return save_composition(request.checkpoint, classifier.card, reader, about)


def remembering(
    request: Request,
    head: CompositionHead,
    compositions: Compositions,
    looked_up: torch.Tensor,
    apart: torch.Tensor,
    pool: Compositions,
    say: Say,
) -> tuple[CompositionReader, dict[str, float]]:
    """The head beside the entries that it may look up, and figures of both together.

    looked_up, apart: [n] bool, of `compositions`.
    """
    log_prior_G = pool_prior(pool).double().numpy()
    entries, judges = compositions.only(looked_up), compositions.only(looked_up & apart)
    if request.index is not None:
        held = of_index(request.index, apart=True)
        entries = entries.with_more(of_index(request.index)).with_more(held)
        judges = held if len(held) else judges
    # Held out from the network, not from what is looked up: a judge is judged without its own entry.
    known = known_of(entries, log_prior_G)
    fitted = fitted_trust(head, known, judges, log_prior_G, request.seed)
    if fitted is None:
        return CompositionReader(head, known), {}
    say(
        f"{len(known):,} known compositions; {fitted.trust}, fitted on {fitted.n:,} held-out entries: nats "
        f"with amounts {fitted.exact_alone:.3f} to {fitted.exact:.3f}, with elements "
        f"{fitted.elements_alone:.3f} to {fitted.elements:.3f}"
    )
    return CompositionReader(head, known, fitted.trust), fitted.figures()


def groups_learned(
    request: Request,
    pool: Compositions,
    training: CompositionTraining,
    progress: Callable[[str, int, int], None],
) -> CompositionHead:
    """A head that knows groups, from `work` where it is there: no pattern's network has a part in that."""
    path = request.work / "groups.safetensors"
    made_from = json.dumps(
        {"compositions": len(pool), "digest": _digest(pool), "training": asdict(training)}, sort_keys=True
    )
    if path.is_file():
        try:
            with safe_open(path, framework="pt") as file:
                if (file.metadata() or {}).get("made_from") == made_from:
                    head = CompositionHead(training.network)
                    head.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
                    return head.eval()
        except (SafetensorError, RuntimeError) as error:
            raise BadInput(f"{path} is damaged ({error}): delete it.") from None
    steps = training.steps
    head = train_groups(pool, training, lambda step, loss: progress(f"groups, loss {loss:.3f}", step, steps))
    write_atomically(path, save_tensors(dict(head.state_dict()), metadata={"made_from": made_from}))
    return head


def _digest(pool: Compositions) -> str:
    digest = hashlib.sha256()
    for part in (*pool.chemistry, pool.group):
        digest.update(part.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


@torch.inference_mode()
def contradiction(
    head: CompositionHead, known: Known, compositions: Compositions, seed: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Log-odds under which FALSE_ALARMS of the right compositions lie, for (amounts, elements), and the
    shares of another structure's compositions that lie below them."""
    n = len(known.group_N)
    other = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    limits, noticed = [], []
    for told_exact in (True, False):
        exact = torch.full((n,), told_exact)
        right = head(known.feature_NR, compositions.take(known.row_N, exact)).match_B
        wrong = head(known.feature_NR, compositions.take(known.row_N[other], exact)).match_B
        limit = float(torch.quantile(right, FALSE_ALARMS))
        limits.append(round(limit, 4))
        noticed.append(round(float((wrong < limit).float().mean()), 4))
    return (limits[0], limits[1]), (noticed[0], noticed[1])


def weighed(folder: Folder, classifier: Classifier, about: CompositionCard) -> CompositionCard:
    """Weights fitted on all labelled patterns with a formula, around the checkpoint's own calibration."""
    # The head is not calibrated yet, but its logits do not depend on that.
    ready = replace(classifier, card=replace(classifier.card, composition=about))
    known = told(folder, folder.cases("benchmark"), ready, None)
    labels, compounds = labels_of(known.cases), compounds_of(known.cases)
    prior = classifier.log_prior
    said = apply(classifier.calibration, known.split, known.aux, classifier.log_train_prior, prior)
    return replace(
        about,
        exact=fitted_weights(said, prior, known.added["exact"], labels),
        elements=fitted_weights(said, prior, known.added["elements"], labels),
        calibrated_on=f"{len(labels)} measured patterns of {len(set(compounds))} compounds with a formula "
        f"({folder.path.name})",
    )
