"""`Classifier`: a checkpoint and a prior, from a measured pattern to a `Posterior`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt
import torch

from eg_agent.chemistry import Composition
from eg_agent.errors import BadInput, BadPattern
from eg_agent.model.checkpoint import Card, find_checkpoint, load_checkpoint, load_composition
from eg_agent.model.composition_reader import CompositionReader
from eg_agent.model.conformal import closed_set
from eg_agent.model.fusion import Calibration, ambiguity, apply
from eg_agent.model.network import Network
from eg_agent.model.posterior import Posterior
from eg_agent.model.prior import FloatArray, log_prior
from eg_agent.patterns import Grid, Pattern

#: Patterns that go through the network together; more brings nothing on a CPU and costs memory.
BATCH = 32


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a network says of n patterns before calibration.

    split: [n, 99] split scores. aux: [n, 99] auxiliary logits. features: [n, R] that the auxiliary head
    reads. novelty: [n] z, see `eg_agent.model.novelty`; zeros where the card has no reference.
    """

    split: FloatArray
    aux: FloatArray
    features: FloatArray
    novelty: FloatArray


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
    composition: CompositionReader | None = None

    @classmethod
    def load(
        cls, checkpoint: str | Path = "default", prior: str | Path = "mineral", *, device: str = "cpu"
    ) -> Classifier:
        """Load a shipped checkpoint by name or any by path; BadInput says what is wrong with it.

        prior: "mineral", "inorganic", "organic", "uniform", or a file of 99 weights
            (`eg_agent.model.log_prior`);
        "fitted" is the one that was fitted with the calibration, where the card has it.
        """
        checkpoint = find_checkpoint(checkpoint)  # once: a promoted folder may change its mind in between
        network, card = load_checkpoint(checkpoint, device=device)
        values = np.array(card.log_prior) if prior == "fitted" and card.log_prior else log_prior(prior)
        reader = load_composition(checkpoint, card, device=device)
        return cls(network, card, card.architecture.grid, str(prior), values, card.calibration, reader)

    @property
    def checkpoint_hash(self) -> str:
        """First 16 hex digits of the weights' SHA-256."""
        return self.card.hash

    @overload
    def predict(self, patterns: Pattern, composition: Composition | None = None) -> Posterior: ...
    @overload
    def predict(
        self, patterns: Sequence[Pattern], composition: Sequence[Composition | None] | None = None
    ) -> list[Posterior]: ...
    def predict(
        self,
        patterns: Pattern | Sequence[Pattern],
        composition: Composition | Sequence[Composition | None] | None = None,
    ) -> Posterior | list[Posterior]:
        """Posterior of one pattern, or a list of them.

        composition: what is known of the chemistry, of each pattern; None for nothing. One that contradicts
        the pattern is not used, and the posterior says so.
        Raises BadInput for a composition where the checkpoint has no head for one, and BadPattern for a
        pattern that shares no angle with the checkpoint's grid; run
        `eg_agent.patterns.check` first for everything else that can be wrong with one.
        """
        if isinstance(patterns, Pattern):
            assert composition is None or isinstance(composition, Composition), "one pattern, one composition"
            return self.predict([patterns], [composition])[0]
        outputs = self.outputs(patterns)
        log_p_BG = self.log_probability(outputs)
        assert not isinstance(composition, Composition), "several patterns, a composition for each"
        given = [None] * len(log_p_BG) if composition is None else list(composition)
        log_p_BG, odds_B, contradicts_B = self._with_compositions(outputs, log_p_BG, given)
        sets = self.card.sets.sets(log_p_BG) if len(log_p_BG) else []
        novelty_B = outputs.novelty
        reference, reader = self.card.novelty, self.composition
        T_B = self.calibration.temperature_of(novelty_B, ambiguity(outputs.aux))[:, 0]
        return [
            Posterior(
                log_probability=row_G,
                log_prior=self.log_prior,
                checkpoint=self.checkpoint_hash,
                temperature=float(T),
                prior=self.prior,
                prediction_set=groups,
                closed_set=closed_set(groups),
                set_coverage=self.card.sets.coverage,
                novelty=None if reference is None else float(z),
                out_of_distribution=reference is not None and bool(z > reference.threshold),
                composition="" if told is None else str(told),
                composition_odds=None if told is None else float(odds),
                composition_entries=() if told is None or reader is None else reader.most_entries(told),
                contradicts=bool(against),
            )
            for row_G, groups, z, T, told, odds, against in zip(
                log_p_BG, sets, novelty_B, T_B, given, odds_B, contradicts_B, strict=True
            )
        ]

    def _with_compositions(
        self, outputs: Outputs, log_p_BG: FloatArray, given: Sequence[Composition | None]
    ) -> tuple[FloatArray, FloatArray, npt.NDArray[np.bool_]]:
        """Posteriors with the compositions that fit their patterns, log-odds [n], contradictions [n]."""
        odds_B, contradicts_B = np.zeros(len(given)), np.zeros(len(given), dtype=bool)
        rows = [i for i, told in enumerate(given) if told is not None]
        if not rows:
            return log_p_BG, odds_B, contradicts_B
        told = [one for one in given if one is not None]
        added_BG, match_B = self.composition_logits(outputs.features[rows], told)
        assert self.card.composition is not None, "checked with the head"
        about, log_p_BG = self.card.composition, log_p_BG.copy()
        for i, one, added_G, match in zip(rows, told, added_BG, match_B, strict=True):
            odds_B[i] = match
            contradicts_B[i] = match < about.contradiction[0 if one.exact else 1]
            if not contradicts_B[i]:
                weights = about.exact if one.exact else about.elements
                log_p_BG[i] = weights.joined(log_p_BG[i], self.log_prior, added_G)
        return log_p_BG, odds_B, contradicts_B

    def composition_logits(
        self, feature_BR: FloatArray, compositions: Sequence[Composition]
    ) -> tuple[FloatArray, FloatArray]:
        """What compositions add to the log prior [n, 99], and log-odds [n] that each fits its pattern.

        feature_BR: `Outputs.features` of the patterns. Raises BadInput without a composition head.
        """
        if self.composition is None:
            raise BadInput(
                f"checkpoint {self.card.name!r} knows no chemistry: leave the composition out, "
                "or take a checkpoint with a composition head (the shipped default has one)."
            )
        return self.composition.read(feature_BR, compositions)

    def log_probability(self, outputs: Outputs) -> FloatArray:
        """Calibrated log-probabilities [n, 99] of raw outputs, with this classifier's prior inside."""
        return apply(
            self.calibration,
            outputs.split,
            outputs.aux,
            self.log_train_prior,
            self.log_prior,
            outputs.novelty,
        )

    @property
    def log_train_prior(self) -> FloatArray:
        """[99] class prior of training, nats."""
        return np.array(self.card.log_train_prior)

    def scores(self, patterns: Iterable[Pattern]) -> tuple[FloatArray, FloatArray]:
        """Raw outputs before calibration: split scores [n, 99] and auxiliary logits [n, 99]."""
        outputs = self.outputs(patterns)
        return outputs.split, outputs.aux

    def outputs(self, patterns: Iterable[Pattern]) -> Outputs:
        """Raw outputs of both heads and the novelty of each pattern; BadPattern for one off the grid."""
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
            return Outputs(np.empty((0, 99)), np.empty((0, 99)), np.empty((0, 0)), np.empty(0))
        return self.projected_outputs(np.stack(intensity), np.stack(coverage))

    def projected_scores(
        self, intensity_BL: npt.NDArray[np.float32], coverage_BL: npt.NDArray[np.bool_]
    ) -> tuple[FloatArray, FloatArray]:
        """`scores` of patterns that already lie on `grid`: intensity and coverage, both [n, L]."""
        outputs = self.projected_outputs(intensity_BL, coverage_BL)
        return outputs.split, outputs.aux

    @torch.inference_mode()
    def projected_outputs(
        self, intensity_BL: npt.NDArray[np.float32], coverage_BL: npt.NDArray[np.bool_]
    ) -> Outputs:
        """`outputs` of patterns that already lie on `grid`: intensity and coverage, both [n, L]."""
        device = next(self.network.parameters()).device
        split, aux, features = [], [], []
        # The features are what the last layer reads: a hook takes them, so that every network has them.
        hook = self.network.aux_head.register_forward_pre_hook(
            lambda _, inputs: features.append(inputs[0].double().cpu().numpy())
        )
        try:
            for start in range(0, len(intensity_BL), BATCH):
                chunk = slice(start, start + BATCH)
                heads = self.network(
                    torch.from_numpy(np.ascontiguousarray(intensity_BL[chunk])).to(device),
                    torch.from_numpy(np.ascontiguousarray(coverage_BL[chunk])).to(device),
                )
                split.append(self.network.split_scores(heads.split).double().cpu().numpy())
                aux.append(heads.aux.double().cpu().numpy())
        finally:
            hook.remove()
        feature_BR = np.concatenate(features)
        reference = self.card.novelty
        novelty_B = np.zeros(len(feature_BR)) if reference is None else reference.novelty(feature_BR)
        return Outputs(np.concatenate(split), np.concatenate(aux), feature_BR, novelty_B)
