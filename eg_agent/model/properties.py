"""Formation energy, band gap and crystal system of a composition, a pattern or both, with uncertainties.

A multimodal checkpoint (`eg_agent.model.xxact`) beside the classifier's: NAME.safetensors with its weights
and NAME.card.json. What it says stands beside an identification and is never part of it: the network was
trained on computed structures, and its crystal system is no evidence of an absence.
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ConfigDict, ValidationError
from safetensors.torch import save as save_tensors

from eg_agent.chemistry import Composition
from eg_agent.errors import BadInput, BadPattern
from eg_agent.model.checkpoint import load_weights, read_weights, write_together
from eg_agent.model.composition import chemistry
from eg_agent.model.estimate import PropertyEstimate, Quantity
from eg_agent.model.xxact import CRYSTAL_SYSTEMS, LOG_SCALE, Scale, Xxact, XxactConfig
from eg_agent.patterns import Grid, Pattern
from eg_agent.values import VALUE_CONFIG, from_json, to_json

#: Version of the card's layout.
CARD_VERSION = 1
#: Probability that a quantity lies in the interval that is shown.
COVERAGE = 0.9
#: Samples that go through the network together.
BATCH = 64
_ENDING, _FORMULAS = ".card.json", ".formulas.bin"


@dataclass(frozen=True)
class Widening:
    """Factors on the Laplace scales, fitted on validation structures so that intervals hold their share.

    energy, gap: of each for what is shown ("both", "composition", "xrd").
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    energy: float = 1.0
    gap: float = 1.0


@dataclass(frozen=True)
class PropertyCard:
    """What stands beside the weights of a multimodal network.

    architecture: shapes, grid included. energy, gap: scale of the labels (eV/atom, eV).
    widening: by what is shown. trained_on, held_out, cost, created: for people.
    formulas: how the training formulas were told from those that it is judged on; which they are stands in
        NAME.formulas.bin, formulas_sha256 its hash.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    name: str
    architecture: XxactConfig
    energy: Scale
    gap: Scale
    widening: dict[str, Widening] = field(default_factory=dict)
    trained_on: str = ""
    formulas: str = ""
    held_out: dict[str, Any] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    limits: tuple[str, ...] = ()
    created: str = ""
    formulas_sha256: str = ""
    weights_sha256: str = ""
    card_version: int = CARD_VERSION

    @property
    def hash(self) -> str:
        """First 16 hex digits of the weights' SHA-256."""
        return self.weights_sha256[:16]


def _shipped() -> Path:
    return Path(str(resources.files("eg_agent.model").joinpath("multimodal")))


def shipped_properties() -> tuple[str, ...]:
    """Names of the multimodal checkpoints inside the package."""
    folder = _shipped()
    return tuple(sorted(p.name.removesuffix(_ENDING) for p in folder.glob(f"*{_ENDING}")))


def _card_path(name_or_path: str | Path) -> Path:
    name = str(name_or_path)
    if name in shipped_properties():
        return _shipped() / f"{name}{_ENDING}"
    path = Path(name.removesuffix(_ENDING).removesuffix(".safetensors") + _ENDING)
    if not path.is_file():
        known = ", ".join(shipped_properties()) or "none in this installation"
        raise BadInput(
            f"no multimodal checkpoint {name!r}: give a shipped name ({known}) or the path of a card "
            f"({_ENDING})."
        )
    return path


class Formulas:
    """A set of reduced formulas as CRC-32, small enough to ship: one in a hundred thousand others is in it.

    content: the sorted numbers, little-endian, deflated.
    """

    def __init__(self, content: bytes) -> None:
        self._sorted = np.frombuffer(zlib.decompress(content), dtype="<u4")

    @classmethod
    def packed(cls, formulas: Iterable[str]) -> bytes:
        """The content for some formulas (elements in alphabetical order)."""
        numbers = sorted({zlib.crc32(formula.encode()) for formula in formulas})
        return zlib.compress(np.array(numbers, dtype="<u4").tobytes(), 9)

    def __len__(self) -> int:
        return len(self._sorted)

    def __contains__(self, formula: str) -> bool:
        number = zlib.crc32(formula.encode())
        place = int(np.searchsorted(self._sorted, number))
        return place < len(self._sorted) and int(self._sorted[place]) == number


def save_properties(
    path: str | Path, network: Xxact, card: PropertyCard, trained: Iterable[str]
) -> PropertyCard:
    """Write PATH.safetensors (matrices as fp16), PATH.card.json and PATH.formulas.bin, all or none.

    trained: reduced formulas that were trained or validated on.
    """
    path = Path(str(path).removesuffix(_ENDING).removesuffix(".safetensors"))
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = save_tensors(
        {
            name: (value.half() if value.is_floating_point() and value.ndim > 1 else value)
            .detach()
            .cpu()
            .contiguous()
            for name, value in network.state_dict().items()
        }
    )
    formulas = Formulas.packed(trained)
    card = replace(
        card,
        architecture=network.config,
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        formulas_sha256=hashlib.sha256(formulas).hexdigest(),
    )
    write_together(
        {
            path.with_name(path.name + ".safetensors"): weights,
            path.with_name(path.name + _FORMULAS): formulas,
            path.with_name(path.name + _ENDING): (to_json(card, indent=1) + "\n").encode(),
        }
    )
    return card


def read_property_card(name_or_path: str | Path) -> PropertyCard:
    """The card alone; BadInput for one that cannot be used."""
    path = _card_path(name_or_path)
    try:
        raw = json.loads(path.read_bytes())
        version = raw.get("card_version") if isinstance(raw, dict) else None
        if not isinstance(version, int) or version > CARD_VERSION:
            raise BadInput(f"{path} is no card that this eg-agent reads: update it, or fetch it again.")
        return from_json(PropertyCard, path.read_bytes())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, ValidationError) as error:
        raise BadInput(f"card {path} is damaged ({str(error).splitlines()[0]}): fetch it again.") from None


@dataclass(frozen=True, eq=False)
class Said:
    """Answers for n samples. energy, gap: [n, 2] location and Laplace scale, eV/atom and eV, widened.

    system: [n, 7] probabilities, in the order of `CRYSTAL_SYSTEMS`.
    """

    energy: npt.NDArray[np.float64]
    gap: npt.NDArray[np.float64]
    system: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PropertyModel:
    """A loaded multimodal checkpoint. Use `PropertyModel.load`."""

    network: Xxact
    card: PropertyCard
    path: Path

    @classmethod
    def load(cls, checkpoint: str | Path = "default", *, device: str = "cpu") -> PropertyModel:
        """Load a shipped checkpoint by name or any by path; BadInput says what is wrong with it."""
        path = _card_path(checkpoint)
        card = read_property_card(path)
        weights = path.with_name(path.name.removesuffix(_ENDING) + ".safetensors")
        network = Xxact(card.architecture)
        load_weights(network, read_weights(weights, card.weights_sha256), str(weights))
        return cls(network.to(device).eval(), card, path)

    @cached_property
    def trained_formulas(self) -> Formulas:
        """Reduced formulas that it was trained or validated on; BadInput for a damaged file."""
        path = self.path.with_name(self.path.name.removesuffix(_ENDING) + _FORMULAS)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BadInput(f"{path} cannot be read ({error.strerror}): it belongs beside its card.") from None
        if hashlib.sha256(content).hexdigest() != self.card.formulas_sha256:
            raise BadInput(f"{path} does not belong to its card, or is damaged: fetch both again.")
        return Formulas(content)

    @property
    def grid(self) -> Grid:
        """The grid whose projection the network takes."""
        return self.card.architecture.grid

    @torch.inference_mode()
    def said(
        self,
        intensity_BL: npt.NDArray[np.float32] | torch.Tensor | None,
        coverage_BL: npt.NDArray[np.bool_] | torch.Tensor | None,
        compositions: Sequence[Composition] | None,
    ) -> Said:
        """Answers for n patterns on `grid` (maximum 1), n exact compositions, or both.

        Raises BadInput where neither is given, and for a composition whose amounts are not known.
        """
        if intensity_BL is None and compositions is None:
            raise BadInput("a pattern, a composition or both are needed.")
        for composition in compositions or ():
            if not composition.exact:
                raise BadInput(
                    f"{composition} does not say how much of each: give the composition (Ca3Al2Si3O12)."
                )
        device = next(self.network.parameters()).device
        count = len(compositions or ()) if intensity_BL is None else len(intensity_BL)
        energy, gap, system = [], [], []
        for start in range(0, count, BATCH):
            rows = slice(start, start + BATCH)
            given = None if compositions is None else chemistry(compositions[rows]).to(device)
            shown = None if intensity_BL is None else torch.as_tensor(intensity_BL[rows]).float().to(device)
            covered = None if coverage_BL is None else torch.as_tensor(coverage_BL[rows]).to(device)
            found = self.network(shown, covered, given)
            energy.append(found.energy_B2.double().cpu())
            gap.append(found.gap_B2.double().cpu())
            system.append(found.system_BS.double().softmax(1).cpu().numpy())
        if not count:
            return Said(np.empty((0, 2)), np.empty((0, 2)), np.empty((0, len(CRYSTAL_SYSTEMS))))
        wider = self.card.widening.get(inputs_of(intensity_BL, compositions), Widening())
        return Said(
            _in_units(torch.cat(energy), self.card.energy, wider.energy),
            _in_units(torch.cat(gap), self.card.gap, wider.gap),
            np.concatenate(system),
        )

    def estimate(self, pattern: Pattern | None, composition: Composition | None) -> PropertyEstimate:
        """Properties of what was measured; BadPattern for a pattern that shares no angle with the grid."""
        intensity = coverage = None
        if pattern is not None:
            projected = self.grid.project(pattern)
            if not projected.coverage.any():
                raise BadPattern(
                    f"the pattern has no point on the range of the multimodal network "
                    f"({self.grid.two_theta_min:g}-{self.grid.two_theta_max:g} degrees for Cu K-alpha1)."
                )
            intensity, coverage = projected.intensity[None], projected.coverage[None]
        said = self.said(intensity, coverage, None if composition is None else [composition])
        probability = said.system[0]
        order = np.argsort(-probability)
        return PropertyEstimate(
            composition="" if composition is None else str(composition),
            inputs=inputs_of(intensity, composition),
            formation_energy=_quantity(said.energy[0]),
            band_gap=_quantity(said.gap[0], least=0.0),
            crystal_systems=tuple((CRYSTAL_SYSTEMS[i], round(float(probability[i]), 6)) for i in order),
            coverage=COVERAGE,
            checkpoint=self.card.hash,
        )


def inputs_of(pattern: object | None, composition: object | None) -> Literal["both", "composition", "xrd"]:
    """What is shown, in the words of `Xxact`."""
    if pattern is None:
        return "composition"
    return "xrd" if composition is None else "both"


def _in_units(said_B2: torch.Tensor, scale: Scale, wider: float) -> npt.NDArray[np.float64]:
    location = said_B2[:, 0] * scale.spread + scale.mean
    width = said_B2[:, 1].clamp(*LOG_SCALE).exp() * scale.spread * wider
    return torch.stack([location, width], dim=1).numpy()


def _quantity(said_2: npt.NDArray[np.float64], least: float = -math.inf) -> Quantity:
    """Value with the central interval of its Laplace distribution that holds COVERAGE."""
    half = -math.log(1.0 - COVERAGE) * said_2[1]
    value, low, high = (round(float(max(least, said_2[0] + d)), 4) for d in (0.0, -half, half))
    return Quantity(value, low, high)
