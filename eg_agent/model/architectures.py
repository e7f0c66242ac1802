"""Architectures by name: each a function that returns the `NetworkConfig` of one `Network`.

"The paper" is arXiv:2604.23811. Baselines stand beside ours with the same heads, so that one loop, one
checkpoint format and one test serve them all.
"""

from __future__ import annotations

from dataclasses import replace

from eg_agent.model.network import NetworkConfig


def paper() -> NetworkConfig:
    """The published network of the real-data checkpoints: d=128, depth 4, 4 heads, patch 25."""
    return NetworkConfig(
        length=8501, channels=("intensity", "sin2theta"), stem="patch", patch=25, readout="cls"
    )


def small() -> NetworkConfig:
    """Ours for one CPU core: 4096 points, residual stem to 64 tokens, 1.5 M parameters."""
    return NetworkConfig()


def residual() -> NetworkConfig:
    """Ours for one CPU core: a residual network of 2.1 M parameters down to 32 tokens, no transformer."""
    return NetworkConfig(
        stem="residual",
        stem_widths=(32, 64, 96, 128, 192, 256),
        width=256,
        depth=0,
        readout="pooled",
        dropout=0.1,
    )


def tiny() -> NetworkConfig:
    """For tests and smoke runs: the shapes of `small` with almost nothing in them."""
    return NetworkConfig(
        length=512,
        stem_widths=(8, 8, 16, 16),
        stem_blocks=(0, 0, 1, 0),
        stem_kernel=3,
        width=16,
        depth=1,
        heads=2,
        mlp_ratio=2,
    )


def hybrid() -> NetworkConfig:
    """The trunk of `residual` with two transformer blocks of width 192 behind it; 2.9 M parameters."""
    return replace(residual(), width=192, depth=2, heads=6, hidden=448)


def trial() -> NetworkConfig:
    """A residual network of 2.9 M parameters as of the first trial on measured patterns: 64 tokens."""
    return replace(
        residual(),
        channels=("sqrt", "asinh", "coverage", "sin2theta"),
        stem_widths=(32, 64, 128, 192, 256),
        hidden=640,
    )


def fine() -> NetworkConfig:
    """`small` with 128 tokens, one for 0.66 degrees."""
    return NetworkConfig(stem_widths=(32, 48, 64, 96, 128), stem_blocks=(0, 0, 1, 1, 1))


def resnet18() -> NetworkConfig:
    """The paper's baseline: a one-dimensional ResNet-18 with global mean pooling, of intensities alone."""
    return NetworkConfig(
        channels=("intensity",), stem="resnet18", width=512, depth=0, heads=8, position="none", readout="mean"
    )


def plain_vit() -> NetworkConfig:
    """`paper` without what makes it physical: no coordinate channel, learned positions alone."""
    return replace(paper(), channels=("intensity",), position="learned")


def base() -> NetworkConfig:
    """For a GPU: residual stem to 128 tokens of width 320, eight transformer blocks; 12 M parameters."""
    return NetworkConfig(
        stem="residual",
        stem_widths=(64, 96, 128, 256),
        width=320,
        depth=8,
        heads=8,
        readout="pooled",
        placed=16,
        dropout=0.1,
    )


#: Architectures by name.
NETWORKS = {
    "residual": residual,
    "hybrid": hybrid,
    "trial": trial,
    "base": base,
    "small": small,
    "fine": fine,
    "paper": paper,
    "plain-vit": plain_vit,
    "resnet18": resnet18,
    "tiny": tiny,
}
