"""XxaCT-NN (arXiv:2507.01054): composition and diffraction fused, without a structure, to properties.

As published: a CrabNet encoder of the composition gives keys and values, a transformer over patches of
the pattern gives queries, a decoder of cross-attention blocks fuses them, and CLS is read by a head for
each property: formation energy, band gap, crystal system. Two pretraining objectives: masked XRD
modelling (5 % of the tokens hidden, their intensities regressed) and a contrastive alignment of the two
encoders.

Ours beside it: the energy heads give a mean and a scale (a Laplace likelihood, whose mean absolute error
is what is reported), so that an estimate has an uncertainty; and either input may be missing, which is
how one checkpoint answers for a composition alone, a pattern alone and both.

Tokens come from the paper's patches, one linear map of each, or (`stem="conv"`) from three strided
convolutions, which learn from fewer patterns because a peak looks the same wherever it stands.

The size is a configuration: `cpu` trains on a core, `gpu` on one GPU, `published` is the paper's on eight.

Axes, as suffixes of names:
    B samples    L points    T tokens    P points of a token    E elements    D width    H heads
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import ConfigDict
from torch import Tensor, nn

from eg_agent.errors import BadInput
from eg_agent.model.composition import N_GROUPS, Chemistry, CompositionConfig, CompositionEncoder
from eg_agent.patterns import Grid
from eg_agent.values import VALUE_CONFIG

#: Crystal systems, in the order of the head's logits.
CRYSTAL_SYSTEMS = (
    "triclinic",
    "monoclinic",
    "orthorhombic",
    "tetragonal",
    "trigonal",
    "hexagonal",
    "cubic",
)

Inputs = Literal["both", "composition", "xrd"]
#: Bounds of the log of a Laplace scale, in units of the training labels' spread.
LOG_SCALE = (-5.0, 3.0)


@dataclass(frozen=True)
class XxactConfig:
    """Shapes of an `Xxact`.

    length, two_theta_min, two_theta_max: the grid (degrees, Cu K-alpha1 equivalent).
    patch: points of a token. stem: how points become a token, "patch" (the paper) or "conv"; the
    convolutions stride over `stem_strides` points one after the other, patch in all, with `stem_widths`
    channels between them. width, heads: of all transformers. xrd_depth: blocks over the pattern alone.
    fusion_depth: blocks with cross-attention (12 in the paper). composition_depth: over elements.
    aligned: dimensions in which the two encoders are compared. dropout: while training. symmetry: heads for
    extinction group and cell, from which training learns more than from the crystal system. match: a head for
    whether pattern and composition are of one sample.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    length: int = 2048
    two_theta_min: float = 5.0
    two_theta_max: float = 90.0
    patch: int = 64
    stem: Literal["patch", "conv"] = "conv"
    stem_strides: tuple[int, ...] = (4, 4, 4)
    stem_widths: tuple[int, ...] = (32, 64)
    width: int = 128
    heads: int = 4
    xrd_depth: int = 1
    fusion_depth: int = 2
    composition_depth: int = 2
    aligned: int = 64
    dropout: float = 0.1
    symmetry: bool = False
    match: bool = False

    def __post_init__(self) -> None:
        if self.length % self.patch:
            raise BadInput(f"a grid of {self.length} points has no whole number of patches of {self.patch}.")
        if self.stem == "conv" and (
            math.prod(self.stem_strides) != self.patch or len(self.stem_widths) != len(self.stem_strides) - 1
        ):
            raise BadInput(
                f"strides {self.stem_strides} with {len(self.stem_widths)} widths between them do not make "
                f"tokens of {self.patch} points."
            )
        if self.width % self.heads:
            raise BadInput(f"width {self.width} is not a multiple of {self.heads} heads.")

    @property
    def grid(self) -> Grid:
        """The grid whose projection the network takes."""
        return Grid(self.two_theta_min, self.two_theta_max, self.length)

    @property
    def tokens(self) -> int:
        """Tokens of a pattern."""
        return self.length // self.patch

    @property
    def composition(self) -> CompositionConfig:
        """The encoder of compositions."""
        return CompositionConfig(
            width=self.width, depth=self.composition_depth, heads=self.heads, dropout=self.dropout
        )


class Scale(NamedTuple):
    """Mean and spread (standard deviation) of a label over the training structures, in its unit."""

    mean: float
    spread: float


class Estimates(NamedTuple):
    """What the heads say.

    energy_B2, gap_B2: location and log of the Laplace scale, in units of the training labels' spread.
    system_BS: logits of `CRYSTAL_SYSTEMS`.
    """

    energy_B2: Tensor
    gap_B2: Tensor
    system_BS: Tensor


class Symmetry(NamedTuple):
    """What training learns beside `Estimates`. group_BG: logits of the 99 extinction groups. lattice_B4: the
    cell's edges, shortest first, and its volume, as logarithms, in units of their spread in training."""

    group_BG: Tensor
    lattice_B4: Tensor


def optional(name: str) -> bool:
    """Whether a parameter of `Xxact` belongs to a head that not every network has, and no shipped one."""
    return name.startswith(("group.", "lattice.", "match."))


class StridedConvolution(nn.Module):
    """A convolution [B, L, C] -> [B, L / stride, D] over `3 stride` points, as one matrix product."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.project = nn.Linear(channels * stride, 3 * width)

    def forward(self, x_BLC: Tensor) -> Tensor:
        # What each group of points says to the place before it, to its own and to the one behind.
        before, here, behind = self.project(x_BLC.unflatten(1, (-1, self.stride)).flatten(2)).chunk(3, dim=-1)
        return here + F.pad(before[:, 1:], (0, 0, 0, 1)) + F.pad(behind[:, :-1], (0, 0, 1, 0))


class Tokens(nn.Module):
    """Points with three channels (intensity, coverage, hidden) [B, L, 3] -> tokens [B, T, D]."""

    def __init__(self, config: XxactConfig) -> None:
        super().__init__()
        self.patch = config.patch
        if config.stem == "patch":
            self.layers = nn.ModuleList([nn.Linear(3 * config.patch, config.width)])
        else:
            widths = (3, *config.stem_widths, config.width)
            self.layers = nn.ModuleList(
                StridedConvolution(a, b, stride)
                for a, b, stride in zip(widths, widths[1:], config.stem_strides, strict=False)
            )
        self.stem = config.stem

    def forward(self, x_BLC: Tensor) -> Tensor:
        if self.stem == "patch":
            return self.layers[0](x_BLC.unflatten(1, (-1, self.patch)).flatten(2))
        for number, layer in enumerate(self.layers):
            x_BLC = layer(F.gelu(x_BLC) if number else x_BLC)
        return x_BLC


class Attention(nn.Module):
    """Multi-head attention of one sequence to another (or to itself)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x_BTD: Tensor, to_BED: Tensor, mask_B11E: Tensor | None) -> Tensor:
        """mask_B11E: True where it may be looked at."""
        q_BHTK = self.query(x_BTD).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k_BHEK, v_BHEK = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.key_value(to_BED).chunk(2, dim=-1)
        )
        if q_BHTK.is_cuda:
            seen_BHTK = F.scaled_dot_product_attention(q_BHTK, k_BHEK, v_BHEK, attn_mask=mask_B11E)
        else:  # the backward pass of the fused one takes several times as long on CPUs
            score_BHTE = q_BHTK @ k_BHEK.mT * q_BHTK.shape[-1] ** -0.5
            if mask_B11E is not None:
                score_BHTE = score_BHTE.masked_fill(~mask_B11E, -1e4)
            seen_BHTK = score_BHTE.softmax(-1).to(v_BHEK.dtype) @ v_BHEK
        return self.out(seen_BHTK.transpose(1, 2).flatten(2))


class FusionBlock(nn.Module):
    """Pre-norm block: self-attention, cross-attention to the composition (if `cross`), MLP."""

    def __init__(self, config: XxactConfig, cross: bool) -> None:
        super().__init__()
        width = config.width
        self.dropout = config.dropout
        self.norm1, self.self_attention = nn.LayerNorm(width), Attention(width, config.heads)
        self.cross_attention = Attention(width, config.heads) if cross else None
        self.norm2 = nn.LayerNorm(width) if cross else None
        self.norm3 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(
        self,
        x_BTD: Tensor,
        seen_B11T: Tensor | None,
        element_BED: Tensor | None = None,
        there_B11E: Tensor | None = None,
        first_only: bool = False,
    ) -> Tensor:
        """element_BED: tokens of the composition. first_only: give back the first token alone [B, 1, D]."""
        drop = self.dropout if self.training else 0.0
        normed = self.norm1(x_BTD)
        asking = normed
        if first_only:
            x_BTD, asking = x_BTD[:, :1], normed[:, :1]
        x_BTD = x_BTD + self.self_attention(asking, normed, seen_B11T)
        if self.cross_attention is not None and self.norm2 is not None and element_BED is not None:
            x_BTD = x_BTD + self.cross_attention(self.norm2(x_BTD), element_BED, there_B11E)
        return x_BTD + F.dropout(self.mlp(self.norm3(x_BTD)), drop)


class Encoded(NamedTuple):
    """tokens_BTD: CLS first, fused; CLS alone unless all were asked for. xrd_BD, composition_BD: readouts of
    the encoders before fusion."""

    tokens_BTD: Tensor
    xrd_BD: Tensor
    composition_BD: Tensor


class Xxact(nn.Module):
    """The network; see the module docstring."""

    def __init__(self, config: XxactConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.composition = CompositionEncoder(config.composition)
        self.stem = Tokens(config)
        self.position_TD = nn.Parameter(torch.empty(config.tokens, width))
        self.cls_D = nn.Parameter(torch.empty(width))
        self.no_composition_D = nn.Parameter(torch.empty(width))
        self.xrd = nn.ModuleList(FusionBlock(config, cross=False) for _ in range(config.xrd_depth))
        self.fusion = nn.ModuleList(FusionBlock(config, cross=True) for _ in range(config.fusion_depth))
        self.xrd_norm, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.energy, self.gap = nn.Linear(width, 2), nn.Linear(width, 2)
        self.system = nn.Linear(width, len(CRYSTAL_SYSTEMS))
        self.group = nn.Linear(width, N_GROUPS) if config.symmetry else None
        self.lattice = nn.Linear(width, 4) if config.symmetry else None
        self.match = nn.Linear(width, 1) if config.match else None
        self.rebuilt = nn.Linear(width, config.patch)
        self.align_xrd = nn.Linear(width, config.aligned, bias=False)
        self.align_composition = nn.Linear(width, config.aligned, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(2.0))  # CLIP's: logits begin 1 / 0.14 times as large
        for parameter in (self.position_TD, self.cls_D, self.no_composition_D):
            nn.init.trunc_normal_(parameter, std=0.02)
        for head in (self.energy, self.gap, self.system):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def encode(
        self,
        intensity_BL: Tensor | None,
        coverage_BL: Tensor | None,
        given: Chemistry | None,
        hidden_BT: Tensor | None = None,
        all_tokens: bool = False,
    ) -> Encoded:
        """Both inputs, or one (the other None), through encoders and decoder.

        intensity_BL: maximum 1 over the covered part. coverage_BL: bool, what was measured; None: all.
        hidden_BT: bool, tokens to hide (masked XRD modelling). all_tokens: fuse every token, not CLS alone.
        """
        if intensity_BL is None and given is None:
            raise BadInput("a pattern, a composition or both are needed.")
        seen_B11T = None
        if intensity_BL is not None:
            x_BTD, seen_B11T = self._tokens(intensity_BL, coverage_BL, hidden_BT)
        else:  # nothing but CLS
            assert given is not None
            x_BTD = self.cls_D.expand(len(given.element_BE), 1, -1)
        for block in self.xrd:
            x_BTD = block(x_BTD, seen_B11T)
        xrd_BD = self.xrd_norm(x_BTD[:, 0])
        if given is None:
            element_BED = self.no_composition_D.expand(len(x_BTD), 1, -1)
            there_B11E, composition_BD = None, element_BED[:, 0]
        else:
            element_BED, composition_BD = self.composition(given)
            there_BE = given.element_BE[:, : element_BED.shape[1]] > 0
            # The mean by share, CrabNet's own readout, is one more key: attention alone forgets amounts.
            element_BED = torch.cat([composition_BD[:, None], element_BED], dim=1)
            there_B11E = F.pad(there_BE, (1, 0), value=True)[:, None, None, :]
        last = len(self.fusion) - 1
        for number, block in enumerate(self.fusion):
            alone = number == last and not all_tokens
            x_BTD = block(x_BTD, seen_B11T, element_BED, there_B11E, first_only=alone)
        return Encoded(self.norm(x_BTD), xrd_BD, composition_BD)

    def _tokens(
        self, intensity_BL: Tensor, coverage_BL: Tensor | None, hidden_BT: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """CLS and the tokens of a pattern [B, 1 + T, D], and which of them may be looked at (None: all)."""
        config = self.config
        if intensity_BL.shape[-1] != config.length:
            raise BadInput(
                f"pattern has {intensity_BL.shape[-1]} points, this network's grid has {config.length}: "
                "project it on the grid of the checkpoint's card."
            )
        # As square roots: counting noise is even then, and weak lines are seen.
        shown_BL = intensity_BL.clamp(min=0.0).sqrt()
        covered_BL = torch.ones_like(shown_BL) if coverage_BL is None else coverage_BL.to(shown_BL.dtype)
        hidden_BL = torch.zeros_like(shown_BL)
        if hidden_BT is not None:
            hidden_BL = hidden_BT.to(shown_BL.dtype).repeat_interleave(config.patch, dim=1)
            shown_BL = shown_BL * (1.0 - hidden_BL)
        points_BLC = torch.stack([shown_BL * covered_BL, covered_BL, hidden_BL], dim=-1)
        x_BTD = self.stem(points_BLC) + self.position_TD
        x_BTD = torch.cat([self.cls_D.expand(len(x_BTD), 1, -1).to(x_BTD.dtype), x_BTD], dim=1)
        if coverage_BL is None or bool(coverage_BL.all()):
            return x_BTD, None
        seen_BT = coverage_BL.unflatten(1, (-1, config.patch)).any(-1)
        return x_BTD, F.pad(seen_BT, (1, 0), value=True)[:, None, None, :]

    def estimates(self, encoded: Encoded) -> Estimates:
        """The heads, of CLS; in fp32 whatever the rest is multiplied in."""
        cls_BD = encoded.tokens_BTD[:, 0].float()
        with torch.autocast(cls_BD.device.type, enabled=False):
            return Estimates(self.energy(cls_BD), self.gap(cls_BD), self.system(cls_BD))

    def symmetry(self, encoded: Encoded) -> Symmetry:
        """The heads of symmetry, in fp32; BadInput for a network without them."""
        if self.group is None or self.lattice is None:
            raise BadInput("this network has no heads for group and lattice.")
        cls_BD = encoded.tokens_BTD[:, 0].float()
        with torch.autocast(cls_BD.device.type, enabled=False):
            return Symmetry(self.group(cls_BD), self.lattice(cls_BD))

    def belonging(self, encoded: Encoded) -> Tensor:
        """Log-odds [B] that pattern and composition are of one sample, where both were shown; in fp32.

        Of a population with as many wrong compositions as training had. BadInput for a network without it.
        """
        if self.match is None:
            raise BadInput("this network does not say whether pattern and composition belong together.")
        cls_BD = encoded.tokens_BTD[:, 0].float()
        with torch.autocast(cls_BD.device.type, enabled=False):
            return self.match(cls_BD)[:, 0]

    def forward(
        self, intensity_BL: Tensor | None, coverage_BL: Tensor | None, given: Chemistry | None
    ) -> Estimates:
        """`encode` and `estimates` in one."""
        return self.estimates(self.encode(intensity_BL, coverage_BL, given))

    def rebuilt_intensity(self, encoded: Encoded) -> Tensor:
        """Square roots of the intensities [B, T, P] of every token, for masked XRD modelling."""
        return self.rebuilt(encoded.tokens_BTD[:, 1:])

    def alignment(self, encoded: Encoded) -> Tensor:
        """[B, B] logits of pattern i against composition j, for the contrastive objective."""
        xrd = F.normalize(self.align_xrd(encoded.xrd_BD), dim=1)
        composition = F.normalize(self.align_composition(encoded.composition_BD), dim=1)
        return xrd @ composition.T * self.log_scale.clamp(max=4.6).exp()

    @property
    def parameters_count(self) -> int:
        """Number of trained parameters."""
        return sum(p.numel() for p in self.parameters())


def tiny() -> XxactConfig:
    """For tests: 16 tokens of width 32."""
    return XxactConfig(
        length=1024, width=32, heads=2, stem_widths=(8, 16), xrd_depth=1, fusion_depth=2, composition_depth=1
    )


def small() -> XxactConfig:
    """For minutes of one core: 32 tokens of width 64, 0.3 M parameters."""
    return XxactConfig(width=64, stem_widths=(16, 32))


def cpu() -> XxactConfig:
    """For hours of one core: 32 tokens of width 128, 1.2 M parameters."""
    return XxactConfig()


def gpu() -> XxactConfig:
    """For minutes of one GPU: 64 tokens of width 256."""
    return XxactConfig(
        length=4096,
        stem_widths=(64, 128),
        width=256,
        heads=8,
        xrd_depth=3,
        fusion_depth=4,
        composition_depth=3,
    )


def published() -> XxactConfig:
    """The paper's patches and depth (12 blocks of cross-attention) at a width for eight GPUs."""
    return XxactConfig(
        length=8192,
        patch=32,
        stem="patch",
        width=512,
        heads=8,
        xrd_depth=6,
        fusion_depth=12,
        composition_depth=3,
    )


#: Sizes by name.
SIZES = {"tiny": tiny, "small": small, "cpu": cpu, "gpu": gpu, "published": published}


def size(name: str) -> XxactConfig:
    """The shapes of that name; BadInput lists them."""
    if name not in SIZES:
        raise BadInput(f"no size {name!r}: one of {', '.join(SIZES)}.")
    return SIZES[name]()
