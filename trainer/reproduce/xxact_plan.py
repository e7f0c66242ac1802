"""Which runs the tables of XxaCT-NN (arXiv:2507.01054) are made of, at what size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from eg_agent.errors import BadInput
from eg_agent.model.xxact import size
from trainer.multimodal.xxact_config import Weights, XxactTrain

#: Shares of the training formulas in the scaling table, smallest first.
SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
_ENERGY = Weights(energy=4.0, gap=0.0, system=0.0)
_GAP = Weights(energy=0.0, gap=2.0, system=0.0)
_SYSTEM = Weights(energy=0.0, gap=0.0, system=1.0)


#: How patterns vary that are made while a network learns, mostly of copies.
_VARIED: dict[str, Any] = {"copies": 0.7, "stretch": 0.03, "strain": 0.02, "contrast": 0.3}


@dataclass(frozen=True)
class Setting:
    """A size at which all runs are made.

    network: name of its shapes. samples: of a run on all data; a share of the data gets the square root of
    it, so that each structure is seen more often where there are few. pretraining: samples of it.
    """

    network: str
    samples: int
    pretraining: int
    batch: int
    lr: float
    views: int = 1


#: "core": about an hour of one core for all runs, "long": half an hour of one for each; "night" and "day": a
#: larger network, of two cores and hours of one for each; "gpu": half an hour of one GPU for all.
SETTINGS = {
    "tiny": Setting("tiny", 1_024, 512, 32, 1e-3),
    "core": Setting("small", 120_000, 60_000, 64, 2e-3),
    "long": Setting("small", 1_500_000, 600_000, 64, 2e-3),
    "night": Setting("cpu", 1_200_000, 600_000, 64, 7e-4),
    "day": Setting("cpu", 2_250_000, 600_000, 64, 1e-3),
    "gpu": Setting("gpu", 3_000_000, 3_000_000, 512, 1e-3, views=4),
}


@dataclass(frozen=True)
class XxactRun:
    """One run: what it is called and how it differs from a fused run on all labelled structures."""

    variant: str
    seed: int = 0

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.variant}-s{self.seed}"


def setting(name: str) -> Setting:
    """The setting of that name; BadInput lists them."""
    if name not in SETTINGS:
        raise BadInput(f"no setting {name!r} of XxaCT-NN: one of {', '.join(SETTINGS)}.")
    return SETTINGS[name]


_Variant = Callable[[XxactTrain, Setting], XxactTrain]


def _share(inputs: str, share: float, begin: str = "") -> _Variant:
    def make(base: XxactTrain, at: Setting) -> XxactTrain:
        samples = max(at.batch, round(at.samples * share**0.5))
        return replace(base, inputs=inputs, share=share, samples=samples, begin_from=begin)  # pyright: ignore

    return make


def _pretrained(objective: str) -> _Variant:
    return lambda base, at: replace(base, objective=objective, rows="all", samples=at.pretraining)  # pyright: ignore


def _of_copies(inputs: str) -> _Variant:
    """Mostly symmetric copies of the structures, each time of another cell, and what symmetry is behind the
    crystal system told beside it."""

    def make(base: XxactTrain, at: Setting) -> XxactTrain:
        return replace(
            base,
            inputs=inputs,  # pyright: ignore[reportArgumentType]
            network=replace(base.network, symmetry=True, dropout=0.05),
            weights=replace(_SYSTEM, group=0.5, lattice=1.0),
            rows="all",
            **_VARIED,
            samples=2 * base.samples,
        )

    return make


def _any_of_copies(base: XxactTrain, _: Setting) -> XxactTrain:
    """One network for any input that is never shown a pattern twice, clean or of stage 2."""
    return replace(
        base,
        inputs="any",
        patterns="mixed",
        rows="half",
        begin_from="composition",
        network=replace(base.network, symmetry=True, match=True, dropout=0.05),
        weights=replace(base.weights, group=0.5, lattice=1.0, match=1.0),
        exchanged=0.15,
        **_VARIED,
    )


def share_name(inputs: str, share: float, begin: str = "") -> str:
    """Name of a run of the scaling table."""
    start = {"": "", "masked": "-masked"}[begin]
    return f"{inputs}{start}" if share == 1.0 else f"{inputs}{start}-{round(1 / share)}th"


#: What each variant makes of a fused multi-task run on clean patterns of all labelled structures.
VARIANTS: dict[str, _Variant] = {
    **{
        share_name(inputs, share): _share(inputs, share)
        for inputs in ("both", "composition", "xrd")
        for share in SHARES
    },
    **{
        share_name("both", share, "masked"): _share("both", share, "pretrained-masked")
        for share in (1 / 16, 1 / 4, 1.0)
    },
    "pretrained-masked": _pretrained("masked"),
    "pretrained-contrastive": _pretrained("contrastive"),
    "pretrained-masked-and-contrastive": _pretrained("masked and contrastive"),
    "both-contrastive": lambda base, _: replace(base, begin_from="pretrained-contrastive"),
    "both-masked-and-contrastive": lambda base, _: replace(
        base, begin_from="pretrained-masked-and-contrastive"
    ),
    "both-energy": lambda base, _: replace(base, weights=_ENERGY),
    "both-gap": lambda base, _: replace(base, weights=_GAP),
    "both-system": lambda base, _: replace(base, weights=_SYSTEM),
    "composition-energy": lambda base, _: replace(base, weights=_ENERGY, inputs="composition"),
    "both-system-all": lambda base, _: replace(base, weights=_SYSTEM, rows="all"),
    "xrd-system-all": lambda base, _: replace(base, weights=_SYSTEM, rows="all", inputs="xrd"),
    # No two patterns are alike: it takes twice the samples without knowing them by heart sooner.
    "both-system-varied": lambda base, _: replace(
        base, weights=_SYSTEM, rows="all", stretch=0.03, contrast=0.3, samples=2 * base.samples
    ),
    **{f"{inputs}-system-copies": _of_copies(inputs) for inputs in ("both", "xrd")},
    "composition-system-all": lambda base, _: replace(
        base, weights=_SYSTEM, rows="all", inputs="composition"
    ),
    "both-stage2": lambda base, at: replace(base, patterns="stage2", views=at.views),
    "xrd-stage2": lambda base, at: replace(base, patterns="stage2", views=at.views, inputs="xrd"),
    # One network for any input, as the shipped checkpoint is. What compositions say is learned
    # first, where a sample costs a third.
    "any": lambda base, at: replace(
        base, inputs="any", patterns="mixed", views=at.views, begin_from="composition"
    ),
    # For longer budgets: every other structure has no energy, and clean patterns are never twice alike.
    "any-varied": lambda base, at: replace(
        base,
        inputs="any",
        patterns="mixed",
        views=at.views,
        rows="half",
        stretch=0.03,
        contrast=0.3,
        begin_from="composition",
    ),
    "any-copies": _any_of_copies,
    # Then lines of any width that a diffractometer has, for some two fifths of that again.
    "any-widths": lambda base, at: replace(
        _any_of_copies(base, at), widest=1.2, begin_from="any-copies", samples=max(1, 2 * base.samples // 5)
    ),
}

#: The order in which runs are made: what tells most first.
ORDER = (
    "composition",
    "any",
    "both",
    "composition-16th",
    "composition-4th",
    "both-16th",
    "both-4th",
    "xrd",
    "pretrained-masked",
    "both-masked",
    "both-energy",
    "composition-energy",
    "pretrained-contrastive",
    "both-contrastive",
    "both-system-all",
    "both-stage2",
    "pretrained-masked-and-contrastive",
    "both-masked-and-contrastive",
    "both-masked-16th",
    "both-masked-4th",
    "composition-8th",
    "composition-2th",
    "both-8th",
    "both-2th",
    "xrd-16th",
    "xrd-8th",
    "xrd-4th",
    "xrd-2th",
    "xrd-stage2",
    "xrd-system-all",
    "both-gap",
    "both-system",
    "composition-system-all",
    "both-system-varied",
    "both-system-copies",
    "xrd-system-copies",
    "any-varied",
    "any-copies",
    "any-widths",
)


def config_of_run(run: XxactRun, at: Setting) -> XxactTrain:
    """Settings of a run; BadInput for a variant that is none."""
    if run.variant not in VARIANTS:
        raise BadInput(f"no run {run.variant!r} of XxaCT-NN: one of {', '.join(VARIANTS)}.")
    base = XxactTrain(
        name=run.name,
        network=size(at.network),
        samples=at.samples,
        batch=at.batch,
        lr=at.lr,
        judged_every=max(at.batch, at.samples // 16),
        seed=run.seed,
    )
    made = VARIANTS[run.variant](base, at)
    begin = f"{made.begin_from}-s{run.seed}" if made.begin_from else ""
    return replace(made, begin_from=begin)


def runs_of(seeds: int, only: tuple[str, ...] = ()) -> list[XxactRun]:
    """All runs in their order, first seeds first; or those of `only` (BadInput for an unknown one)."""
    for variant in only:
        if variant not in VARIANTS:
            raise BadInput(f"no run {variant!r} of XxaCT-NN: one of {', '.join(VARIANTS)}.")
    chosen = [v for v in ORDER if not only or v in only]
    return [XxactRun(variant, seed) for seed in range(seeds) for variant in chosen]
