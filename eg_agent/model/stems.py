"""Stems of the network: a pattern's channels [B, C, L] -> tokens [B, T, D].

Each stem says its own `macs`: multiply-adds of one fully covered pattern, `length` points with padding.

Convolutions run as those of images one point high, channels last in memory: on a CPU a step of training is
1.3 (fp32) to 1.4 (bf16) times faster so (docs/decisions/0017), and on GPUs it is the layout of tensor cores.

Axes as in `eg_agent.model.network`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from eg_agent.model.network import NetworkConfig


class Conv(nn.Conv1d):
    """A convolution over L of [B, C, 1, L]; its weights are those of `torch.nn.Conv1d`."""

    def forward(self, x_BC1L: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        weight = self.weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)
        stride, padding = (1, self.stride[0]), (0, int(self.padding[0]))
        return F.conv2d(x_BC1L, weight, self.bias, stride, padding)


class Norm(nn.BatchNorm1d):
    """A batch norm over [B, C, 1, L]; its weights are those of `torch.nn.BatchNorm1d`."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() != 4:
            raise ValueError(f"expected [B, C, 1, L], got {input.dim()} dimensions")


def as_image(x_BCL: Tensor) -> Tensor:
    """[B, C, L] -> [B, C, 1, L], channels last in memory."""
    return x_BCL.unsqueeze(2).contiguous(memory_format=torch.channels_last)


def as_tokens(x_BC1T: Tensor) -> Tensor:
    """[B, C, 1, T] -> [B, T, C]."""
    return x_BC1T.squeeze(2).transpose(1, 2)


class ResidualBlock(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))), then relu, over [B, C, 1, L]."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv1 = Conv(channels, channels, kernel, padding=kernel // 2, bias=False)
        self.norm1 = Norm(channels)
        self.conv2 = Conv(channels, channels, kernel, padding=kernel // 2, bias=False)
        self.norm2 = Norm(channels)

    def forward(self, x_BC1L: Tensor) -> Tensor:
        y_BC1L = F.relu(self.norm1(self.conv1(x_BC1L)))
        return F.relu(x_BC1L + self.norm2(self.conv2(y_BC1L)))


class ConvStem(nn.Module):
    """[B, C, L] -> tokens [B, T, D] by strided convolutions, each halving the length."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = len(config.channels)
        for stage, (width, blocks) in enumerate(zip(config.stem_widths, config.stem_blocks)):
            kernel = 7 if stage == 0 else 4
            layers += [
                Conv(channels, width, kernel, stride=2, padding=(kernel - 1) // 2, bias=False),
                Norm(width),
                nn.ReLU(),
            ]
            layers += [ResidualBlock(width, config.stem_kernel) for _ in range(blocks)]
            channels = width
        self.stages = nn.Sequential(*layers)
        self.project = nn.Linear(channels, config.width)

    def forward(self, x_BCL: Tensor) -> Tensor:
        return self.project(as_tokens(self.stages(as_image(x_BCL))))

    @staticmethod
    def macs(config: NetworkConfig, length: int) -> int:
        """Multiply-adds of one pattern."""
        channels, macs = len(config.channels), 0
        for stage, (width, blocks) in enumerate(zip(config.stem_widths, config.stem_blocks)):
            length //= 2
            macs += length * channels * width * (7 if stage == 0 else 4)
            macs += blocks * 2 * length * width * width * config.stem_kernel
            channels = width
        return macs + length * channels * config.width


class DownBlock(nn.Module):
    """[B, C, 1, L] -> [B, C', 1, L / 2]: two convolutions beside a shortcut of means of two points."""

    def __init__(self, channels: int, width: int, kernel: int) -> None:
        super().__init__()
        pad = kernel // 2
        self.conv1 = Conv(channels, width, kernel, stride=2, padding=pad, bias=False)
        self.norm1 = Norm(width)
        self.conv2 = Conv(width, width, kernel, padding=pad, bias=False)
        self.norm2 = Norm(width)
        self.shortcut = nn.Sequential(nn.AvgPool2d((1, 2)), Conv(channels, width, 1, bias=False), Norm(width))

    def forward(self, x_BC1L: Tensor) -> Tensor:
        y_BC1L = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x_BC1L)))))
        return F.relu(y_BC1L + self.shortcut(x_BC1L))


class ResidualStem(nn.Module):
    """[B, C, L] -> tokens [B, T, D] by residual blocks, each halving the length."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        widths, stride = config.stem_widths, config.stem_stride
        self.first = nn.Sequential(
            Conv(len(config.channels), widths[0], 2 * stride + 1, stride, padding=stride, bias=False),
            Norm(widths[0]),
            nn.ReLU(),
        )
        pairs = pairwise(widths)
        self.stages = nn.Sequential(*(DownBlock(a, b, config.stem_kernel) for a, b in pairs))
        self.project = nn.Linear(widths[-1], config.width) if widths[-1] != config.width else nn.Identity()

    def forward(self, x_BCL: Tensor) -> Tensor:
        return self.project(as_tokens(self.stages(self.first(as_image(x_BCL)))))

    @staticmethod
    def macs(config: NetworkConfig, length: int) -> int:
        """Multiply-adds of one pattern."""
        length //= config.stem_stride
        channels = config.stem_widths[0]
        macs = length * len(config.channels) * channels * (2 * config.stem_stride + 1)
        for width in config.stem_widths[1:]:
            length //= 2
            macs += length * width * (config.stem_kernel * (channels + width) + channels)
            channels = width
        return macs + length * channels * config.width * (channels != config.width)


class BasicBlock(nn.Module):
    """The block of ResNet-18 and -34 in one dimension: [B, C, 1, L] -> [B, C', 1, L / stride].

    He et al., arXiv:1512.03385; the shortcut is a 1 x 1 convolution where the shape changes.
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = Conv(channels, width, 3, stride, padding=1, bias=False)
        self.norm1 = Norm(width)
        self.conv2 = Conv(width, width, 3, padding=1, bias=False)
        self.norm2 = Norm(width)
        self.shortcut = (
            nn.Identity()
            if stride == 1 and channels == width
            else nn.Sequential(Conv(channels, width, 1, stride, bias=False), Norm(width))
        )

    def forward(self, x_BC1L: Tensor) -> Tensor:
        y_BC1L = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x_BC1L)))))
        return F.relu(y_BC1L + self.shortcut(x_BC1L))


class ResNet18Stem(nn.Module):
    """[B, C, L] -> tokens [B, L / 32, D]: ResNet-18 in one dimension, up to its global pooling."""

    #: Points that one token stands for.
    POINTS = 32
    #: (width, stride of the first of two blocks) of the four stages, at the width of the original.
    STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.first = nn.Sequential(
            Conv(len(config.channels), 64, 7, 2, padding=3, bias=False),
            Norm(64),
            nn.ReLU(),
            nn.MaxPool2d((1, 3), (1, 2), padding=(0, 1)),
        )
        blocks: list[nn.Module] = []
        channels = 64
        for width, stride in self.STAGES:
            blocks += [BasicBlock(channels, width, stride), BasicBlock(width, width, 1)]
            channels = width
        self.stages = nn.Sequential(*blocks)
        self.project = nn.Linear(512, config.width) if config.width != 512 else nn.Identity()

    def forward(self, x_BCL: Tensor) -> Tensor:
        return self.project(as_tokens(self.stages(self.first(as_image(x_BCL)))))

    @staticmethod
    def macs(config: NetworkConfig, length: int) -> int:
        """Multiply-adds of one pattern."""
        macs = length // 2 * len(config.channels) * 64 * 7
        length, channels = length // 4, 64
        for width, stride in ResNet18Stem.STAGES:
            length //= stride
            macs += length * width * (3 * channels + 9 * width)
            if stride != 1 or channels != width:
                macs += length * channels * width
            channels = width
        return macs + length * channels * config.width * (config.width != 512)


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

    @staticmethod
    def macs(config: NetworkConfig, length: int) -> int:
        """Multiply-adds of one pattern."""
        return length * len(config.channels) * config.width


#: Stems by the name that `NetworkConfig.stem` takes.
STEMS: dict[str, type[PatchStem | ConvStem | ResidualStem | ResNet18Stem]] = {
    "patch": PatchStem,
    "conv": ConvStem,
    "residual": ResidualStem,
    "resnet18": ResNet18Stem,
}
