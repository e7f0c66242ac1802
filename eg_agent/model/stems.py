"""Stems of the network: a pattern's channels [B, C, L] -> tokens [B, T, D].

Axes as in `eg_agent.model.network`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from eg_agent.model.network import NetworkConfig


class ResidualBlock(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))), then relu, over [B, C, L]."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, bias=False)
        self.norm1 = nn.BatchNorm1d(channels)
        self.conv2 = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, bias=False)
        self.norm2 = nn.BatchNorm1d(channels)

    def forward(self, x_BCL: Tensor) -> Tensor:
        y_BCL = F.relu(self.norm1(self.conv1(x_BCL)))
        return F.relu(x_BCL + self.norm2(self.conv2(y_BCL)))


class ConvStem(nn.Module):
    """[B, C, L] -> tokens [B, T, D] by strided convolutions, each halving the length."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = len(config.channels)
        for stage, (width, blocks) in enumerate(zip(config.stem_widths, config.stem_blocks)):
            kernel = 7 if stage == 0 else 4
            layers += [
                nn.Conv1d(channels, width, kernel, stride=2, padding=(kernel - 1) // 2, bias=False),
                nn.BatchNorm1d(width),
                nn.ReLU(),
            ]
            layers += [ResidualBlock(width, config.stem_kernel) for _ in range(blocks)]
            channels = width
        self.stages = nn.Sequential(*layers)
        self.project = nn.Linear(channels, config.width)

    def forward(self, x_BCL: Tensor) -> Tensor:
        return self.project(self.stages(x_BCL).transpose(1, 2))


class DownBlock(nn.Module):
    """[B, C, L] -> [B, C', L / 2]: two convolutions beside a shortcut of means of two points."""

    def __init__(self, channels: int, width: int, kernel: int) -> None:
        super().__init__()
        pad = kernel // 2
        self.conv1 = nn.Conv1d(channels, width, kernel, stride=2, padding=pad, bias=False)
        self.norm1 = nn.BatchNorm1d(width)
        self.conv2 = nn.Conv1d(width, width, kernel, padding=pad, bias=False)
        self.norm2 = nn.BatchNorm1d(width)
        self.shortcut = nn.Sequential(
            nn.AvgPool1d(2), nn.Conv1d(channels, width, 1, bias=False), nn.BatchNorm1d(width)
        )

    def forward(self, x_BCL: Tensor) -> Tensor:
        y_BCL = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x_BCL)))))
        return F.relu(y_BCL + self.shortcut(x_BCL))


class ResidualStem(nn.Module):
    """[B, C, L] -> tokens [B, T, D] by residual blocks, each halving the length."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        widths, stride = config.stem_widths, config.stem_stride
        self.first = nn.Sequential(
            nn.Conv1d(len(config.channels), widths[0], 2 * stride + 1, stride, padding=stride, bias=False),
            nn.BatchNorm1d(widths[0]),
            nn.ReLU(),
        )
        pairs = pairwise(widths)
        self.stages = nn.Sequential(*(DownBlock(a, b, config.stem_kernel) for a, b in pairs))
        self.project = nn.Linear(widths[-1], config.width) if widths[-1] != config.width else nn.Identity()

    def forward(self, x_BCL: Tensor) -> Tensor:
        return self.project(self.stages(self.first(x_BCL)).transpose(1, 2))


class PatchStem(nn.Module):
    """[B, C, L] -> tokens [B, T, D]: each patch of points, all channels, through one linear map."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.patch = config.patch
        self.project = nn.Linear(len(config.channels) * config.patch, config.width)

    def forward(self, x_BCL: Tensor) -> Tensor:
        n_B, n_C, n_L = x_BCL.shape
        patches_BCTP = x_BCL.reshape(n_B, n_C, n_L // self.patch, self.patch)
        return self.project(patches_BCTP.transpose(1, 2).flatten(2))


#: Stems by the name that `NetworkConfig.stem` takes.
STEMS = {"patch": PatchStem, "conv": ConvStem, "residual": ResidualStem}
