"""What is to be run: variants of one reference, the runs of each table, and what the paper says there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from eg_agent.errors import BadInput
from eg_agent.model import architectures
from eg_agent.model.network import NetworkConfig
from trainer.config import OptimConfig, Phase, TrainConfig, cpu_hybrid, tiny
from trainer.log import TRAINING_FACTOR
from trainer.loss import LossConfig

#: Patterns of a run at the common budget, and seeds of every ablation.
PATTERNS = 64_000
SEEDS = 3
#: FLOP/s of one core in training (2.5 GHz Xeon, fp32) and patterns it simulates a second, for estimates.
CORE_FLOPS, CORE_PATTERNS = 9.0e10, 450.0


@dataclass(frozen=True)
class Spec:
    """One run: a variant, how many patterns it sees relative to the budget, and its seed."""

    variant: str
    share: float
    seed: int

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.variant}-x{self.share:g}-s{self.seed}"


#: The trained checkpoint that tables without training of their own are made of (`trainer.reproduce.shipped`).
SHIPPED = Spec("shipped", 0.0, 0)


@dataclass(frozen=True)
class Table:
    """A table: its title, the runs, what the paper says, and what is shown of each run.

    rows: (label, variant, share of the budget). kind: how `trainer.reproduce.tables` prints it.
    published: the paper's own rows, to stand below ours of measured patterns: label -> metric -> value.
    """

    title: str
    paper: str
    rows: tuple[tuple[str, str, float], ...]
    kind: str = "figures"
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


#: RRUFF-325 (shares, nats), first revision; "prior alone" was computed from its training classes.
_PAPER = {
    "paper, prior alone": {"top1": 0.1262, "top5": 0.4369, "nll": 3.54},
    "paper, stage 2c": {"top1": 0.0954, "top5": 0.4308, "nll": 3.70},
    "paper, final mixed": {"top1": 0.1046, "top5": 0.4369, "nll": 3.69},
    "paper, texture only": {"top1": 0.1354, "top5": 0.4092, "nll": 3.67},
}
#: Mean distance and share within two hops there, on the published graph.
_PAPER_GRAPH = {
    "paper, prior alone": {"graph_distance_wrong": 2.12, "within_2_hops": 0.634},
    "paper, stage 2c": {"graph_distance_wrong": 2.72, "within_2_hops": 0.384},
    "paper, final mixed": {"graph_distance_wrong": 2.46, "within_2_hops": 0.516},
    "paper, texture only": {"graph_distance_wrong": 2.51, "within_2_hops": 0.530},
}


def _with(base: TrainConfig, **network: object) -> TrainConfig:
    return replace(base, network=replace(base.network, **network))  # pyright: ignore[reportArgumentType]


def _on(base: TrainConfig, stage: str, *earlier: Phase) -> TrainConfig:
    return replace(base, curriculum=stage, earlier=earlier)


def _tokens(count: int) -> Callable[[TrainConfig], TrainConfig]:
    def make(base: TrainConfig) -> TrainConfig:
        length = base.network.length
        return replace(base, network=replace(architectures.paper(), length=length, patch=length // count))

    return make


def _network(
    make: Callable[[], NetworkConfig], *, as_published: bool = False
) -> Callable[[TrainConfig], TrainConfig]:
    """Another network: of the reference's grid, or of its own where that is part of what was published."""
    return lambda base: replace(
        base, network=make() if as_published else replace(make(), length=base.network.length)
    )


_STAGES = (Phase("stage1", 0.15), Phase("stage2-real", 0.6))

#: What each variant makes of the reference configuration.
VARIANTS: dict[str, Callable[[TrainConfig], TrainConfig]] = {
    "reference": lambda base: base,
    "no-coordinate": lambda base: _with(
        base, channels=tuple(c for c in base.network.channels if c != "sin2theta")
    ),
    "no-physics-position": lambda base: _with(base, position="learned"),
    "no-split-head": lambda base: replace(base, loss=LossConfig(0.0, 0.0, 0.0, 1.0, balanced_bits=False)),
    "paper-loss": lambda base: replace(base, loss=LossConfig()),
    "space-groups": lambda base: _with(base, classes="space groups"),
    "stage1": lambda base: _on(base, "stage1"),
    "stage1-2": lambda base: _on(base, "stage2-real", Phase("stage1", 0.25)),
    "stage1-2-3": lambda base: _on(base, "stage3", *_STAGES),
    "stage2-3": lambda base: _on(base, "stage3", Phase("stage2-real", 0.75)),
    "texture-only": lambda base: _on(base, "texture"),
    "mixed": lambda base: _on(base, "mixed"),
    "no-texture": lambda base: _on(base, "without-texture"),
    "no-minerals": lambda base: _on(base, "without-minerals"),
    "no-nuisances": lambda base: _on(base, "without-nuisances"),
    "no-real": lambda base: _on(base, "without-real"),
    "resnet18": _network(architectures.resnet18),
    "plain-vit": _network(architectures.plain_vit, as_published=True),
    "paper-vit": _network(architectures.paper, as_published=True),
    "conv-vit": _network(architectures.small),
    "no-attention": lambda base: _with(base, depth=0),
    "tokens-128": _tokens(128),
    "tokens-256": _tokens(256),
    "tokens-512": _tokens(512),
}


def _same(*names: str) -> tuple[tuple[str, str, float], ...]:
    return tuple((name, name, 1.0) for name in names)


_SHARES = {0.25: "a quarter", 0.5: "half", 1.0: "all"}


def _grown(*names: str) -> tuple[tuple[str, str, float], ...]:
    return tuple((f"{v}, {words} of the budget", v, s) for v in names for s, words in _SHARES.items())


_SHIPPED = ("shipped checkpoint", SHIPPED.variant, SHIPPED.share)

TABLES: dict[str, Table] = {
    "ablations": Table(
        "Ablations at one budget",
        "no ablation of the published network beats its own prior on measured patterns",
        _same("reference", "no-coordinate", "no-physics-position", "no-split-head", "paper-loss", "stage1",
              "stage1-2", "stage2-3", "stage1-2-3", "no-texture", "no-minerals", "no-nuisances", "no-real"),
    ),
    "baselines": Table(
        "Baselines on the same patterns",
        "RRUFF-325: final 10.46 % Top-1, NLL 3.69, against 12.62 % and 3.54 of the prior alone",
        tuple(
            (f"{v}, {_SHARES[s]} of the budget", v, s)
            for s in (0.25, 1.0)
            for v in ("reference", "no-attention", "conv-vit", "resnet18", "plain-vit", "paper-vit")
        ),
        published={n: _PAPER[n] for n in ("paper, prior alone", "paper, final mixed")},
    ),
    "space-groups": Table(
        "230 space groups collapsed, against extinction groups directly",
        "measured Top-1: collapsed 10.22 %, direct 12.05 %",
        (("direct", "reference", 1.0), ("collapsed", "space-groups", 1.0)),
        published={"paper, direct": {"top1": 0.1205}, "paper, collapsed": {"top1": 0.1022}},
    ),
    "tokens": Table(
        "Token size against data",
        "synthetic Top-1, one point a token against 25: 57.5 and 21.7 % at 99 k, 94.4 and 71.8 % at 5.14 M",
        _grown("tokens-128", "tokens-256", "tokens-512"),
    ),
    "saturation": Table(
        "Does ResNet-18 saturate?",
        "synthetic Top-1 of ResNet-18 saturates at 80-88 %",
        _grown("resnet18", "reference"),
    ),
    "texture": Table(
        "Texture: none, alone, mixed",
        "RRUFF-325 Top-1: texture only 13.54 %, final mixed 10.46 %, stage 2c 9.54 %, prior 12.62 %",
        (("realistic", "reference", 1.0), *_same("no-texture", "texture-only", "mixed")),
        published=_PAPER,
    ),
    "calibration": Table(
        "Calibration: sweep over T",
        "T = 5 chosen on the test set itself; ECE 0.049 there",
        (_SHIPPED, *_same("reference")),
        "temperature",
    ),
    "topology": Table(
        "Where wrong answers lie on the subgroup graph",
        "mean distance 2.46 (final mixed), 2.12 (prior alone); within 2 hops 51.6 % against 63.4 %",
        (_SHIPPED, *_same("reference")),
        "topology",
        _PAPER_GRAPH,
    ),
    "split": Table(
        "Are the split head's bits a group?",
        "no figure: the decoder only ever scores the 99 codes",
        (_SHIPPED, *_same("reference", "paper-loss", "stage1")),
        "split",
    ),
    "quality": Table(
        "Strata by quality of the pattern",
        "the 'catastrophic paradox': the patterns with the worst Rietveld fits are among the easiest",
        (_SHIPPED, *_same("reference")),
        "quality",
    ),
}  # fmt: skip


def desk() -> TrainConfig:
    """`cpu-hybrid` at half its widths and half its points: 0.8 M parameters, three times as fast.

    For a budget of some thousand patterns a run: twice as many steps of half the batch, and a shorter
    average of the weights.
    """
    hybrid = cpu_hybrid()
    network = replace(
        hybrid.network,
        length=2048,
        stem_widths=(16, 32, 48, 64, 96, 128),
        width=96,
        heads=4,
        hidden=256,
    )
    return replace(hybrid, name="desk", network=network, batch=16, optim=OptimConfig(ema=0.99))


#: (variant, share) without which a table says nothing, in the order in which they are made.
ESSENTIAL = (
    ("reference", 1.0),
    ("no-real", 1.0),
    ("no-nuisances", 1.0),
    ("no-split-head", 1.0),
    ("no-coordinate", 1.0),
    ("space-groups", 1.0),
    ("stage1", 1.0),
    ("stage1-2-3", 1.0),
    ("texture-only", 1.0),
    ("reference", 0.25),
    ("paper-vit", 0.25),
    ("resnet18", 0.25),
    ("plain-vit", 0.25),
)


def reference(name: str) -> TrainConfig:
    """The configuration that variants start from: "cpu-hybrid", "desk" or "tiny".

    The first two have every part that is ablated.
    """
    made = {"cpu-hybrid": cpu_hybrid, "desk": desk, "tiny": tiny}
    if name not in made:
        raise BadInput(f"no reference {name!r}: one of {', '.join(made)}.")
    return made[name]()


def config_of_spec(spec: Spec, base: TrainConfig, patterns: int = PATTERNS) -> TrainConfig:
    """The configuration of a run of the budget `patterns`: warm-up takes a tenth of its steps at most."""
    made = VARIANTS[spec.variant](base)
    steps = max(1, round(patterns * spec.share) // made.batch)
    schedule = replace(made.schedule, warmup_steps=min(made.schedule.warmup_steps, max(1, steps // 10)))
    return replace(made, name=spec.variant, seed=spec.seed, held_out_seconds=1e9, schedule=schedule)


def tables_named(name: str) -> list[str]:
    """Names of the tables of one name, or of "all"; BadInput lists them."""
    if name != "all" and name not in TABLES:
        raise BadInput(f"there is no table {name!r}: all, or one of {', '.join(TABLES)}.")
    return list(TABLES) if name == "all" else [name]


def specs_of(tables: Iterable[str], seeds: int) -> list[Spec]:
    """Runs of the tables, each once: first seeds first, and of these what most tables need."""
    listed = dict.fromkeys((v, s) for name in tables for _, v, s in TABLES[name].rows if s > 0)
    rows = sorted(listed, key=lambda row: ESSENTIAL.index(row) if row in ESSENTIAL else len(ESSENTIAL))
    return [Spec(variant, share, seed) for seed in range(seeds) for variant, share in rows]


def core_hours(spec: Spec, base: TrainConfig, patterns: int) -> float:
    """Estimated hours of one core: training and simulating, from the network's FLOPs."""
    from eg_agent.model.network import Network

    flops = TRAINING_FACTOR * Network(config_of_spec(spec, base).network).flops()
    return patterns * spec.share * (flops / CORE_FLOPS + 1.0 / CORE_PATTERNS) / 3600.0
