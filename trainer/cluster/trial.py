"""One trial of a search: a run in one process that reports at rungs, and resumes from the last one."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import ray.tune
import torch
from ray.tune import Checkpoint
from rich.console import Console

from eg_agent.model.prior import smoothed
from simulators.corpus import Corpus
from simulators.stream import PatternStream
from trainer.config import Budget, TrainConfig
from trainer.context import LocalContext, choose_device
from trainer.data import CURRICULA, Data, open_data
from trainer.held_out import scores
from trainer.log import RunLog
from trainer.loop import Run, Training, save, train


@dataclass(frozen=True)
class Dials:
    """What is searched: peak learning rate, patterns a step, weight decay, share of random crystals."""

    lr: float
    batch: int
    weight_decay: float
    random_share: float

    def applied(self, config: TrainConfig) -> TrainConfig:
        """The configuration with the first three turned; the fourth belongs to the stream."""
        optim = replace(config.optim, lr=self.lr, weight_decay=self.weight_decay)
        return replace(config, batch=self.batch, optim=optim, held_out_seconds=1e9, checkpoint_seconds=1e9)


@dataclass(frozen=True)
class Search:
    """What all trials share. rungs: patterns seen at which a trial reports, rising; the last ends it."""

    config: TrainConfig
    corpus_name: str
    rungs: tuple[int, ...]
    device: str
    threads: int


def dials_of(config: TrainConfig) -> Dials:
    """Where the dials stand in a configuration."""
    sampling = CURRICULA[config.curriculum]().sampling
    return Dials(config.optim.lr, config.batch, config.optim.weight_decay, round(sampling.random, 3))


def mixed(data: Data, corpus: Corpus, config: TrainConfig, random_share: float, device: torch.device) -> Data:
    """The data with another share of random crystals in training; what it is judged on stays as it is."""
    settings = CURRICULA[config.curriculum]()
    kept = settings.sampling.real + settings.sampling.molecular
    scale = (1.0 - random_share) / kept if kept else 0.0
    sampling = replace(
        settings.sampling,
        real=settings.sampling.real * scale,
        random=random_share,
        molecular=settings.sampling.molecular * scale,
    )
    settings = replace(settings, sampling=sampling)
    stream = PatternStream(corpus, settings, config.seed, config.network.grid, device)
    return replace(
        data, stream=stream, log_train_prior=smoothed(stream.group_probability(), uniform_share=1e-4)
    )


class Rungs(RunLog):
    """Instead of lines and files: figures and a state at each rung.

    judged_prior: [99] class prior of the held-out patterns, the same in all trials; a network that was
    trained on another mix has its own taken out.
    """

    def __init__(self, folder: Path, rungs: Sequence[int], data: Data, judged_prior: np.ndarray) -> None:
        super().__init__(folder, Console(file=StringIO()))
        self.rungs, self.data, self.judged_prior = tuple(rungs), data, judged_prior
        self.run: Run | None = None
        self.context: LocalContext | None = None

    def started(self, training: Training, run: Run, *args: Any, **more: Any) -> None:
        """Forget rungs that the resumed state has passed."""
        self.run = run
        self.rungs = tuple(r for r in self.rungs if r > training.patterns)

    def step(self, training: Training, *args: Any, **more: Any) -> None:
        """Report when a rung is reached; the last one is reported at the end of the run."""
        if len(self.rungs) > 1 and training.patterns >= self.rungs[0]:
            self.rungs = self.rungs[1:]
            self.held_out(training)
            assert self.run is not None
            assert self.context is not None
            save(training, self.run, self.context)

    def held_out(self, training: Training) -> None:
        """Figures of the averaged weights: NLL (nats) and bits over the prior of what is judged, Top-1."""
        was_training = training.ema.training
        training.ema.eval()
        _, aux, labels = scores(training.ema, self.data.held_out)
        training.ema.train(was_training)
        logits = aux - self.data.log_train_prior + self.judged_prior
        logits = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        rows = np.arange(len(labels))
        nll, prior_nll = -logits[rows, labels].mean(), -self.judged_prior[labels].mean()
        training.held_out = {
            "seen": float(training.patterns),
            "nll": float(nll),
            "bits_over_prior": float((prior_nll - nll) / np.log(2.0)),
            "top1": float((logits.argmax(1) == labels).mean()),
            "train_seconds": training.seconds,
        }


class TrialContext(LocalContext):
    """One process that reports to Tune."""

    def report(self, metrics: Mapping[str, float], state: Path | None) -> None:
        """Hand figures and state to Tune, which may end the trial here."""
        checkpoint = None if state is None else Checkpoint.from_directory(state)
        ray.tune.report(dict(metrics), checkpoint=checkpoint)


def trial(dials: dict[str, Any], search: Search, corpus: bytes) -> None:
    """Train with some dials, from the last state that Tune has of this trial. corpus: the file's bytes."""
    torch.set_num_threads(search.threads)
    device = choose_device(search.device)
    turned = Dials(**dials)
    config = replace(turned.applied(search.config), log_steps=1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / search.corpus_name
        file.write_bytes(corpus)
        base = open_data(file, config, device)
        data = mixed(base, Corpus.load(file), config, turned.random_share, device)
        latest = ray.tune.get_checkpoint()
        resume = None if latest is None else Path(latest.to_directory(str(folder / "latest")))
        log = Rungs(folder, search.rungs, data, base.log_train_prior)
        log.context = context = TrialContext(device, resume)
        mix = f"{base.corpus}, random crystals {turned.random_share:.3f}"
        run = Run(
            config=config,
            budget=Budget(patterns=search.rungs[-1]),
            stream=data.stream,
            log_train_prior=data.log_train_prior,
            held_out=data.held_out,
            folder=folder,
            corpus=mix,
        )
        train(run, context, log)
