"""The network: a diffraction pattern on the canonical grid -> 37 symmetry bits and 99 group logits.

Notable features, and where they come from ("the paper": arXiv:2604.23811):

- sin^2(theta) is given twice, as in the paper: as a channel at every point, and through an MLP
  (1 -> d -> d) at every token's centre, added to a learned absolute position.
- Stems. `patch`: a linear embedding of 25-point patches, as published. `conv`: 1-D convolutions
  that halve the length stage by stage, because a 0.25-degree patch hides peaks that are 0.09 degrees
  wide (the paper's own figures: 57.5 against 21.7 % Top-1 for one token a point). `residual`: the same
  with a residual block at each halving; without transformer blocks (depth 0) it is a residual network,
  which learns four times as much from as many patterns while these are fewer than some 100,000.
  `resnet18`: the one-dimensional ResNet-18 of the paper's baseline.
- Intensity enters as sqrt(I), whose Poisson noise is even, and, less a background, as asinh(I - b),
  which shows weak lines on any background: absences are read from lines a thousand times weaker than
  the strongest one.
- What was not measured has no influence: intensities outside the coverage are zeroed, tokens
  without any coverage are masked from attention and from the mean, and with one pattern at
  inference they are dropped, so that a short scan is also a cheap one.
- Pre-norm transformer, GELU, scaled-dot-product attention, no bias in the convolutions.
- Two heads read CLS (ours: CLS and the mean of the tokens; `pooled`: mean, maximum and a few channels
  of every token in its place, through a hidden layer; `mean`: of the tokens): `split`, 7 crystal
  systems + 5 lattices + 25 operators; `aux`, one logit a group. Operator bits are trained with a
  positive weight, which shifts their logits by its logarithm: decoding takes that shift out again
  (`log_pos_weight`).
- FLOPs are counted from the structure (`Network.flops`), so that a trainer can print its MFU.

Axes, as suffixes of names:
    B patterns    L points    C channels    T tokens    D width    H heads    K width of a head
    R readout    G 99 groups    S 7 systems    A 5 lattices    O 25 operators    Z 230 space groups
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eg_agent.errors import BadInput
from eg_agent.model.stems import STEMS, BasicBlock, DownBlock, ResidualBlock, ResNet18Stem
from eg_agent.patterns import Grid
from eg_agent.symmetry import group_of_space_group, published_codes

N_GROUPS = 99
N_SPACE_GROUPS = 230
N_SYSTEMS, N_LATTICES, N_OPERATORS = 7, 5, 25
N_BITS = N_SYSTEMS + N_LATTICES + N_OPERATORS

Channel = Literal["intensity", "sqrt", "asinh", "flat", "coverage", "sin2theta"]

#: asinh(ASINH_SCALE * I) / asinh(ASINH_SCALE): linear below 1/200 of the strongest line, logarithmic above.
ASINH_SCALE = 200.0
#: Degrees over which the least intensity is taken as background by the channel "flat".
BACKGROUND_CELL = 1.33


@dataclass(frozen=True)
class NetworkConfig:
    """Everything that fixes the shapes of a `Network`, its grid included.

    length, two_theta_min, two_theta_max: the canonical grid (degrees, Cu K-alpha1 equivalent).
    channels: what each point is given as.
    position: given to tokens: "physics" (learned, and an MLP of sin^2(theta)), "learned" alone, or "none".
    stem: "patch" (a linear embedding of `patch` points), "conv" (`stem_widths` channels after each
        halving of the length, with `stem_blocks` residual blocks of kernel `stem_kernel`), "residual"
        (a convolution of stride `stem_stride`, then a residual block at each further halving) or
        "resnet18" (which reads `width` alone).
    width, depth, heads, mlp_ratio: the transformer.
    readout: "cls", "cls+mean" (CLS beside the mean over covered tokens), "mean" (no CLS), or "pooled" (no
        CLS: mean and maximum over covered tokens beside `placed` channels of each token, then `hidden`
        units).
    classes: of the auxiliary head: the 99 extinction "groups", or the 230 "space groups", whose
        probabilities are summed over each extinction group (the baseline that the paper argues against).
    dropout: in the transformer's residual branches, while training.
    """

    length: int = 4096
    two_theta_min: float = 5.0
    two_theta_max: float = 90.0
    channels: tuple[Channel, ...] = ("sqrt", "flat", "coverage", "sin2theta")
    position: Literal["physics", "learned", "none"] = "physics"
    stem: Literal["patch", "conv", "residual", "resnet18"] = "conv"
    patch: int = 25
    stem_widths: tuple[int, ...] = (32, 48, 64, 96, 128, 128)
    stem_blocks: tuple[int, ...] = (0, 0, 1, 1, 1, 1)
    stem_kernel: int = 5
    stem_stride: int = 4
    width: int = 128
    depth: int = 4
    heads: int = 4
    mlp_ratio: int = 4
    readout: Literal["cls", "cls+mean", "mean", "pooled"] = "cls+mean"
    classes: Literal["groups", "space groups"] = "groups"
    placed: int = 32
    hidden: int = 512
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise BadInput(f"width {self.width} is not a multiple of {self.heads} heads.")
        if self.stem == "conv" and len(self.stem_widths) != len(self.stem_blocks):
            raise BadInput("stem_widths and stem_blocks must have one entry for each halving of the length.")

    @property
    def grid(self) -> Grid:
        """The grid whose projection the network takes."""
        return Grid(self.two_theta_min, self.two_theta_max, self.length)

    @property
    def points_per_token(self) -> int:
        """Grid points that one token stands for."""
        if self.stem == "patch":
            return self.patch
        if self.stem == "resnet18":
            return ResNet18Stem.POINTS
        first = 2 if self.stem == "conv" else self.stem_stride
        return first * 2 ** (len(self.stem_widths) - 1)

    @property
    def tokens(self) -> int:
        """Tokens of a fully covered pattern, CLS not counted; the last may be partly padding."""
        return math.ceil(self.length / self.points_per_token)


class Heads(NamedTuple):
    """What the network returns: split_B37 (7 systems, 5 lattices, 25 operators) and aux_BG, all logits.

    space: [B, Z] logits of the space groups, of a network whose classes these are; aux sums them by group.
    """

    split: Tensor
    aux: Tensor
    space: Tensor | None = None


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, config.mlp_ratio * width)
        self.down = nn.Linear(config.mlp_ratio * width, width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_BTD: Tensor, seen_B11T: Tensor | None) -> Tensor:
        n_B, n_T, n_D = x_BTD.shape
        qkv_3BHTK = self.qkv(self.norm1(x_BTD)).view(n_B, n_T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q_BHTK, k_BHTK, v_BHTK = qkv_3BHTK
        y_BHTK = F.scaled_dot_product_attention(q_BHTK, k_BHTK, v_BHTK, attn_mask=seen_B11T)
        x_BTD = x_BTD + self.dropout(self.out(y_BHTK.transpose(1, 2).reshape(n_B, n_T, n_D)))
        y_BTD = self.down(F.gelu(self.up(self.norm2(x_BTD))))
        return x_BTD + self.dropout(y_BTD)


class PooledReadout(nn.Module):
    """Tokens [B, T, D] -> [B, R]: mean, maximum and `placed` channels of every token, then a hidden layer.

    The channels that keep their place let the network read angles that a mean forgets.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.place = nn.Linear(config.width, config.placed)
        found = 2 * config.width + config.placed * config.tokens
        self.norm = nn.LayerNorm(found)
        self.hidden = nn.Linear(found, config.hidden)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_BTD: Tensor, seen_BT: Tensor) -> Tensor:
        seen_BT1 = seen_BT[..., None]
        placed_BTP = torch.where(seen_BT1, self.place(x_BTD), 0.0)
        mean_BD = torch.where(seen_BT1, x_BTD, 0.0).sum(1) / seen_BT1.sum(1).clamp(min=1)
        most_BD = torch.where(seen_BT1, x_BTD, -1e4).amax(1)
        found_BR = torch.cat([mean_BD, most_BD, placed_BTP.flatten(1)], dim=1)
        return self.dropout(F.gelu(self.hidden(self.norm(found_BR))))


def _compressed(intensity: Tensor) -> Tensor:
    return torch.asinh(intensity * ASINH_SCALE) / math.asinh(ASINH_SCALE)


def _mean_seen(x_BTD: Tensor, seen_BT: Tensor) -> Tensor:
    weight_BT1 = seen_BT.to(x_BTD.dtype)[..., None]
    return (x_BTD * weight_BT1).sum(1) / weight_BT1.sum(1).clamp(min=1.0)


class Network(nn.Module):
    """Pattern -> `Heads`. See the module's docstring for its features and axes."""

    sin2theta_L: Tensor
    sin2theta_T1: Tensor
    codes_GN: Tensor
    group_Z: Tensor
    log_pos_weight_O: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.stem: nn.Module = STEMS[config.stem](config)
        if config.position != "none":
            self.position_TD = nn.Parameter(torch.zeros(config.tokens, width))
        if config.position == "physics":
            self.position_mlp = nn.Sequential(nn.Linear(1, width), nn.GELU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width) if config.depth else nn.Identity()
        self.pooled = PooledReadout(config) if config.readout == "pooled" else None
        self.has_cls = config.readout in ("cls", "cls+mean")
        if self.has_cls:
            self.cls_D = nn.Parameter(torch.zeros(width))
        readout = {"cls": width, "cls+mean": 2 * width, "mean": width, "pooled": config.hidden}[
            config.readout
        ]
        self.split_head = nn.Linear(readout, N_BITS)
        self.aux_head = nn.Linear(readout, N_GROUPS if config.classes == "groups" else N_SPACE_GROUPS)
        self._register_constants()
        self._initialise()

    def _register_constants(self) -> None:
        config, grid = self.config, self.config.grid
        low, high = float(grid.sin2theta[0]), float(grid.sin2theta[-1])
        point_L = 2.0 * (np.asarray(grid.sin2theta) - low) / (high - low) - 1.0
        step = config.points_per_token
        centre_T = np.minimum((np.arange(config.tokens) + 0.5) * step - 0.5, config.length - 1)
        two_theta_T = np.interp(centre_T, np.arange(config.length), np.asarray(grid.two_theta))
        token_T = 2.0 * (np.sin(np.radians(two_theta_T) / 2.0) ** 2 - low) / (high - low) - 1.0
        for name, value in (("sin2theta_L", point_L), ("sin2theta_T1", token_T[:, None])):
            self.register_buffer(name, torch.from_numpy(value).float(), persistent=False)
        codes_GN = torch.from_numpy(np.array(published_codes(), dtype=np.float32))
        self.register_buffer("codes_GN", codes_GN, persistent=False)
        group_Z = torch.tensor([group_of_space_group(n) - 1 for n in range(1, N_SPACE_GROUPS + 1)])
        self.register_buffer("group_Z", group_Z, persistent=False)
        # Travels with the weights: without it the operator bits would be read back biased.
        self.register_buffer("log_pos_weight_O", torch.zeros(N_OPERATORS))

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02 if module.in_features > 1 else 1.0)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Conv1d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            elif isinstance(module, (ResidualBlock, DownBlock, BasicBlock)):
                nn.init.zeros_(module.norm2.weight)  # every block starts as its shortcut
        if isinstance(self.stem.project, nn.Linear):
            nn.init.xavier_uniform_(self.stem.project.weight)
        if self.config.position != "none":
            nn.init.trunc_normal_(self.position_TD, std=0.02)
        if self.has_cls:
            nn.init.trunc_normal_(self.cls_D, std=0.02)

    @torch.no_grad()
    def start_from_prior(self, log_prior_G: Tensor, log_pos_weight_O: Tensor) -> None:
        """Set the heads' biases so that an untrained network answers the training prior."""
        prior_G = log_prior_G.exp().float()
        marginal_N = (prior_G @ self.codes_GN.cpu()).clamp(1e-6, 1 - 1e-6)
        one_hot = N_SYSTEMS + N_LATTICES
        self.split_head.bias[:one_hot] = marginal_N[:one_hot].log()
        self.split_head.bias[one_hot:] = torch.logit(marginal_N[one_hot:]) + log_pos_weight_O
        if self.config.classes == "space groups":  # a group's prior, evenly over its space groups
            log_prior_G = (log_prior_G - self.group_Z.cpu().bincount(minlength=N_GROUPS).log())[
                self.group_Z.cpu()
            ]
        self.aux_head.bias.copy_(log_prior_G)
        self.log_pos_weight_O.copy_(log_pos_weight_O)

    @torch.no_grad()
    def weigh_operators(self, log_pos_weight_O: Tensor) -> None:
        """Go over to a loss of another positive weight: what the operator bits say stays as it is."""
        shift_O = log_pos_weight_O.to(self.log_pos_weight_O) - self.log_pos_weight_O
        self.split_head.bias[N_SYSTEMS + N_LATTICES :] += shift_O
        self.log_pos_weight_O += shift_O

    def _channels(self, intensity_BL: Tensor, coverage_BL: Tensor) -> Tensor:
        covered_BL = coverage_BL.to(intensity_BL.dtype)
        made = {
            "intensity": lambda i_BL: i_BL,
            "sqrt": lambda i_BL: i_BL.sign() * i_BL.abs().sqrt(),
            "asinh": _compressed,
            "flat": lambda i_BL: _compressed(
                torch.where(coverage_BL, i_BL - self._floor(i_BL, coverage_BL), 0.0)
            ),
            "coverage": lambda _: covered_BL,
            "sin2theta": lambda i_BL: self.sin2theta_L.to(i_BL.dtype).expand_as(i_BL),
        }
        intensity_BL = torch.where(coverage_BL, intensity_BL, 0.0)
        return torch.stack([made[name](intensity_BL) for name in self.config.channels], dim=1)

    def _floor(self, intensity_BL: Tensor, coverage_BL: Tensor) -> Tensor:
        """A background [B, L]: least covered intensity of three neighbouring cells, smoothed.

        Of intensities averaged over nine points, so that it follows the background and not the noise; it
        may lie below the true one, evenly, and that is all that is asked of it.
        """
        config = self.config
        cell = max(1, round(BACKGROUND_CELL / (config.two_theta_max - config.two_theta_min) * config.length))
        cells = math.ceil(config.length / cell)
        pair_B2L = torch.stack([intensity_BL, coverage_BL.to(intensity_BL.dtype)], dim=1)
        sum_BL, count_BL = F.avg_pool1d(pair_B2L, 9, 1, 4).unbind(1)
        seen_BL = torch.where(coverage_BL, sum_BL / count_BL.clamp(min=1e-6), math.inf)
        seen_BL = F.pad(seen_BL, (0, cells * cell - config.length), value=math.inf)
        least_B1N = seen_BL.unflatten(1, (cells, cell)).amin(-1)[:, None]
        least_B1N = -F.max_pool1d(-least_B1N, 3, 1, 1)
        valid_B1N = least_B1N.isfinite()
        weight_B1N = F.avg_pool1d(valid_B1N.to(seen_BL.dtype), 3, 1, 1)
        mean_B1N = F.avg_pool1d(torch.where(valid_B1N, least_B1N, 0.0), 3, 1, 1)
        mean_B1N = mean_B1N / weight_B1N.clamp(min=1e-6)
        floor_B1L = F.interpolate(mean_B1N, size=cells * cell, mode="linear", align_corners=False)
        return floor_B1L[:, 0, : config.length]

    def forward(self, intensity_BL: Tensor, coverage_BL: Tensor) -> Heads:
        """Logits of both heads.

        intensity_BL: [B, L] maximum 1 (what is outside the coverage is ignored).
        coverage_BL: [B, L] bool, what was measured.
        """
        config = self.config
        if intensity_BL.shape[-1] != config.length:
            raise BadInput(
                f"pattern has {intensity_BL.shape[-1]} points, this network's grid has {config.length}: "
                "project it on the grid of the checkpoint's card."
            )
        x_BCL = self._channels(intensity_BL, coverage_BL)
        padding = config.tokens * config.points_per_token - config.length
        if padding:
            x_BCL, coverage_BL = F.pad(x_BCL, (0, padding)), F.pad(coverage_BL, (0, padding))
        seen_BT = coverage_BL.unflatten(1, (config.tokens, -1)).any(-1)
        x_BTD = self.stem(x_BCL)
        if config.position != "none":
            x_BTD = x_BTD + self.position_TD
        if config.position == "physics":
            x_BTD = x_BTD + self.position_mlp(self.sin2theta_T1)
        if not self.has_cls:
            mask_B11T = seen_BT[:, None, None, :]
            for block in self.blocks:
                x_BTD = block(x_BTD, mask_B11T)
            return self._read(self.norm(x_BTD), seen_BT)
        drop = len(x_BTD) == 1 and not self.training
        if drop:
            x_BTD = x_BTD[:, seen_BT[0]]
            seen_BT = seen_BT[:, seen_BT[0]]
        x_BTD = torch.cat([self.cls_D.expand(len(x_BTD), 1, -1), x_BTD], dim=1)
        mask_B11T = None if drop else F.pad(seen_BT, (1, 0), value=True)[:, None, None, :]
        for block in self.blocks:
            x_BTD = block(x_BTD, mask_B11T)
        return self._read(self.norm(x_BTD), seen_BT)

    def _read(self, x_BTD: Tensor, seen_BT: Tensor) -> Heads:
        if self.pooled is not None:
            readout_BR = self.pooled(x_BTD, seen_BT)
        elif self.config.readout == "mean":
            readout_BR = _mean_seen(x_BTD, seen_BT)
        else:
            readout_BR = x_BTD[:, 0]
            if self.config.readout == "cls+mean":
                readout_BR = torch.cat([readout_BR, _mean_seen(x_BTD[:, 1:], seen_BT)], dim=1)
        return self._heads(readout_BR)

    def _heads(self, readout_BR: Tensor) -> Heads:
        split_BN, aux_BG = self.split_head(readout_BR), self.aux_head(readout_BR)
        if self.config.classes == "groups":
            return Heads(split_BN, aux_BG)
        space_BZ = aux_BG.float()
        most_B1 = space_BZ.amax(1, keepdim=True).detach()
        sum_BG = torch.zeros(len(space_BZ), N_GROUPS, device=space_BZ.device)
        sum_BG = sum_BG.index_add(1, self.group_Z, (space_BZ - most_B1).exp())
        return Heads(split_BN, sum_BG.clamp(min=1e-30).log() + most_B1, space_BZ)

    def split_scores(self, split_BN: Tensor) -> Tensor:
        """Log-probability [B, 99] of each group from the split head (the paper's decoder).

        log-softmax(system) + log-softmax(lattice) + Bernoulli log-likelihood of the group's 25
        operator bits, normalised over the 99 groups. The bits' positive weight is taken out first.
        """
        system_BS, lattice_BA, bits_BO = split_BN.float().split((N_SYSTEMS, N_LATTICES, N_OPERATORS), dim=1)
        system_GS, lattice_GA, bits_GO = self.codes_GN.split((N_SYSTEMS, N_LATTICES, N_OPERATORS), dim=1)
        bits_BO = bits_BO - self.log_pos_weight_O
        score_BG = F.log_softmax(system_BS, 1) @ system_GS.T + F.log_softmax(lattice_BA, 1) @ lattice_GA.T
        score_BG = score_BG + F.logsigmoid(bits_BO) @ bits_GO.T + F.logsigmoid(-bits_BO) @ (1 - bits_GO).T
        return F.log_softmax(score_BG, dim=1)

    @property
    def parameters_count(self) -> int:
        """Number of trained parameters."""
        return sum(p.numel() for p in self.parameters())

    def flops(self) -> int:
        """Floating-point operations (2 a multiply-add) of one fully covered pattern, forward only.

        Counts convolutions, linear maps and attention products; norms and activations are left out.
        A training step costs three times as much.
        """
        config = self.config
        tokens, width = config.tokens + self.has_cls, config.width
        macs = STEMS[config.stem].macs(config, config.tokens * config.points_per_token)
        if config.position == "physics":
            macs += config.tokens * (width + width * width)
        if self.pooled is not None:
            found = self.pooled.norm.normalized_shape[0]
            macs += config.tokens * width * config.placed + found * config.hidden
        macs += config.depth * tokens * ((4 + 2 * config.mlp_ratio) * width * width + 2 * tokens * width)
        macs += self.split_head.in_features * (N_BITS + self.aux_head.out_features)
        return 2 * macs
