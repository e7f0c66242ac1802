"""`Classifier`: a checkpoint and a prior, from a measured pattern to a `Posterior`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt
import torch

from eg_agent.errors import BadPattern
from eg_agent.model.checkpoint import Card, load_checkpoint
from eg_agent.model.fusion import Calibration, apply
from eg_agent.model.network import Network
from eg_agent.model.posterior import Posterior
from eg_agent.model.prior import FloatArray, log_prior
from eg_agent.patterns import Grid, Pattern

#: Patterns that go through the network together; more brings nothing on a CPU and costs memory.
BATCH = 32


@dataclass(frozen=True, eq=False)
class Classifier:
    """A loaded checkpoint that answers with a stated prior.

    Use `Classifier.load`. `calibration` may be replaced (`dataclasses.replace`) by one that was fitted
    elsewhere, see `trainer.calibrate`.
    """

    network: Network
    card: Card
    grid: Grid
    prior: str
    log_prior: npt.NDArray[np.float64]
    calibration: Calibration

    @classmethod
    def load(
        cls, checkpoint: str | Path = "default", prior: str | Path = "mineral", *, device: str = "cpu"
    ) -> Classifier:
        """Load a shipped checkpoint by name or any by path; BadInput says what is wrong with it.

        prior: "mineral", "inorganic", "uniform", or a file of 99 weights (`eg_agent.model.log_prior`).
        """
        network, card = load_checkpoint(checkpoint, device=device)
        return cls(network, card, card.architecture.grid, str(prior), log_prior(prior), card.calibration)

    @property
    def checkpoint_hash(self) -> str:
        """First 16 hex digits of the weights' SHA-256."""
        return self.card.hash

    @overload
    def predict(self, patterns: Pattern) -> Posterior: ...
    @overload
    def predict(self, patterns: Sequence[Pattern]) -> list[Posterior]: ...
    def predict(self, patterns: Pattern | Sequence[Pattern]) -> Posterior | list[Posterior]:
        """Posterior of one pattern, or a list of them.

        Raises BadPattern for a pattern that shares no angle with the checkpoint's grid; run
        `eg_agent.patterns.check` first for everything else that can be wrong with one.
        """
        if isinstance(patterns, Pattern):
            return self.predict([patterns])[0]
        split_BG, aux_BG = self.scores(patterns)
        log_p_BG = apply(self.calibration, split_BG, aux_BG, self.log_train_prior, self.log_prior)
        return [
            Posterior(
                log_probability=row_G,
                log_prior=self.log_prior,
                checkpoint=self.checkpoint_hash,
                temperature=self.calibration.temperature,
                prior=self.prior,
            )
            for row_G in log_p_BG
        ]

    @property
    def log_train_prior(self) -> FloatArray:
        """[99] class prior of training, nats."""
        return np.array(self.card.log_train_prior)

    def scores(self, patterns: Iterable[Pattern]) -> tuple[FloatArray, FloatArray]:
        """Raw outputs before calibration: split scores [n, 99] and auxiliary logits [n, 99]."""
        intensity, coverage = [], []
        for pattern in patterns:
            projected = self.grid.project(pattern)
            if not projected.coverage.any():
                raise BadPattern(
                    f"{pattern.source.name or 'the pattern'} has no point on the network's range "
                    f"({self.grid.two_theta_min:g}-{self.grid.two_theta_max:g} degrees for Cu K-alpha1): "
                    "check the wavelength, or measure further."
                )
            intensity.append(projected.intensity)
            coverage.append(projected.coverage)
        if not intensity:
            return np.empty((0, 99)), np.empty((0, 99))
        return self.projected_scores(np.stack(intensity), np.stack(coverage))

    @torch.inference_mode()
    def projected_scores(
        self, intensity_BL: npt.NDArray[np.float32], coverage_BL: npt.NDArray[np.bool_]
    ) -> tuple[FloatArray, FloatArray]:
        """`scores` of patterns that already lie on `grid`: intensity and coverage, both [n, L]."""
        device = next(self.network.parameters()).device
        split, aux = [], []
        for start in range(0, len(intensity_BL), BATCH):
            chunk = slice(start, start + BATCH)
            heads = self.network(
                torch.from_numpy(np.ascontiguousarray(intensity_BL[chunk])).to(device),
                torch.from_numpy(np.ascontiguousarray(coverage_BL[chunk])).to(device),
            )
            split.append(self.network.split_scores(heads.split).double().cpu().numpy())
            aux.append(heads.aux.double().cpu().numpy())
        return np.concatenate(split), np.concatenate(aux)
