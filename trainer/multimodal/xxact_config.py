"""What a training run of XxaCT-NN is: typed settings, the paper's where it says them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from eg_agent.errors import BadInput
from eg_agent.model.xxact import XxactConfig
from eg_agent.values import VALUE_CONFIG

Objective = Literal["properties", "masked", "contrastive", "masked and contrastive"]


@dataclass(frozen=True)
class Weights:
    """Weights of the losses. Each of the first three is a task; 0 leaves it out. group, lattice: extinction
    group and size of the cell, told beside them in training alone. match: whether pattern and composition
    belong together. masked, contrastive: of the two objectives of pretraining."""

    energy: float = 4.0
    gap: float = 2.0
    system: float = 1.0
    group: float = 0.0
    lattice: float = 0.0
    match: float = 0.0
    masked: float = 1.0
    contrastive: float = 0.2


@dataclass(frozen=True)
class XxactTrain:
    """A run: see the module docstring.

    name: of its folder. network: shapes. inputs: what is shown; "any": mostly both, now and then one alone,
    for one network that answers for all three. objective: of the loss. weights: of its parts.
    rows: "labelled" (formation energy known), "all", or "half", half of each batch labelled.
    share: of the training formulas. patterns: "clean", "stage2", or "mixed", half of each
    (stage 2 with cut ranges). stretch, contrast: of clean patterns, each time another: the lattice larger or
    smaller by up to this share, and ln of a power of the intensities up to this. copies: share of symmetric
    copies of training structures (materials made with --copies) among the samples that need no energy.
    strain: of the free axes of clean patterns' cells (standard deviation), each time another. widest: FWHM
    (degrees) up to which lines of half of the clean patterns are widened, where patterns are `rendered`.
    exchanged: share of the samples, where both inputs are shown, whose composition is another structure's:
    the symmetry is the pattern's then, and no energy is asked for.
    views: how many stage-2 patterns of each structure are made.
    samples: the budget. batch: a step, over all workers. lr: peak of AdamW (0.9, 0.98), after `warmup`
    (share of the steps) falling as a cosine (arXiv:2507.01054). weight_decay: on matrices. clip: of the
    gradient's norm. masked_share: of the tokens (5 % in the paper).
    begin_from: name of a run whose weights this one begins with. judged_every: samples between two looks
    at the validation structures. seed: of weights and order.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    name: str
    network: XxactConfig = field(default_factory=XxactConfig)
    inputs: Literal["both", "composition", "xrd", "any"] = "both"
    objective: Objective = "properties"
    weights: Weights = Weights()
    rows: Literal["labelled", "all", "half"] = "labelled"
    share: float = 1.0
    patterns: Literal["clean", "stage2", "mixed"] = "clean"
    stretch: float = 0.0
    contrast: float = 0.0
    copies: float = 0.0
    strain: float = 0.0
    widest: float = 0.0
    exchanged: float = 0.0
    views: int = 1
    samples: int = 200_000
    batch: int = 64
    lr: float = 1e-3
    warmup: float = 0.05
    weight_decay: float = 0.02
    clip: float = 1.0
    masked_share: float = 0.05
    begin_from: str = ""
    judged_every: int = 20_000
    seed: int = 0
    checkpoint_seconds: float = 120.0

    def __post_init__(self) -> None:
        if not 0.0 < self.share <= 1.0 or not 0.0 < self.masked_share < 1.0 or not 0.0 <= self.warmup < 1.0:
            raise BadInput("share, masked_share and warmup of a run lie between 0 and 1.")
        if min(self.samples, self.batch, self.judged_every, self.views) < 1:
            raise BadInput("samples, batch, judged_every and views of a run are at least 1.")
        if not 0.0 <= self.stretch < 0.5 or not 0.0 <= self.contrast < 2.0:
            raise BadInput("stretch of a run lies between 0 and 0.5, contrast between 0 and 2.")
        if (self.stretch or self.contrast) and self.patterns == "stage2":
            raise BadInput(
                "stretch and contrast are for clean patterns: stage 2 strains its crystals itself."
            )
        if not 0.0 <= self.copies <= 1.0 or not 0.0 <= self.strain <= 0.1:
            raise BadInput("copies of a run are a share, from 0 to 1; its strain lies between 0 and 0.1.")
        if self.widest and not (self.rendered and 0.2 < self.widest <= 3.0):
            raise BadInput("widest of a run lies above 0.2 degrees, up to 3, and goes with copies or strain.")
        if self.rendered and (self.patterns == "stage2" or self.inputs == "composition"):
            raise BadInput("copies and strain are for runs that see clean patterns.")
        if self.copies and (self.rows == "labelled" or self.share < 1.0 or self.objective != "properties"):
            raise BadInput(
                "copies are for runs on properties of all training structures: rows all or half, share 1."
            )
        if not 0.0 <= self.exchanged <= 0.5 or bool(self.exchanged) != bool(self.weights.match):
            raise BadInput("exchanged of a run is a share up to 0.5, and goes with a weight of match.")
        if self.weights.match and (not self.network.match or self.inputs not in ("both", "any")):
            raise BadInput("a weight of match needs both inputs and a network with a head for it (match).")
        if (self.weights.group or self.weights.lattice) and not self.network.symmetry:
            raise BadInput("weights of group and lattice need a network with heads for them (symmetry).")
        if self.objective != "properties" and self.inputs != "both":
            raise BadInput("pretraining needs both inputs.")

    @property
    def rendered(self) -> bool:
        """Whether patterns are made while it trains, each time of another cell."""
        return self.copies > 0.0 or self.strain > 0.0

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return max(1, round(self.samples / self.batch))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return json.loads(json.dumps(asdict(self)))


def xxact_train_of(values: Mapping[str, Any]) -> XxactTrain:
    """The settings that `to_dict` wrote; BadInput for others."""
    try:
        return TypeAdapter(XxactTrain).validate_python(values)
    except ValidationError as error:
        raise BadInput(f"these are no settings of an XxaCT-NN run ({error.errors()[0]['msg']}).") from None
