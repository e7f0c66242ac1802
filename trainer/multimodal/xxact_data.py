"""What a run of XxaCT-NN sees: batches of training structures as a function of the step, and the judged rows.

On the device that trains; nothing here depends on the number of workers but the part of a batch that each
takes.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from eg_agent.errors import BadInput
from eg_agent.model.composition import Chemistry
from eg_agent.model.xxact import Scale, Xxact
from simulators.corpus import Corpus, merge
from simulators.counter_random import CounterRandom
from trainer.multimodal.materials import TEST, TRAIN, VALIDATION, Materials, chemistry_of, system_of
from trainer.multimodal.rendering import Rendered
from trainer.multimodal.views import View, condition, kept, stretched
from trainer.multimodal.xxact_config import XxactTrain
from trainer.multimodal.xxact_loss import Labels

#: Validation structures of a curve.
JUDGED = 1024


@dataclass(frozen=True, eq=False)
class Sample:
    """A batch. intensity_BL, coverage_BL (None: all covered), given: as `Xxact` takes them.

    other, own_B: other structures' compositions, and for which samples they are not to be shown instead.
    """

    intensity_BL: Tensor
    coverage_BL: Tensor | None
    given: Chemistry
    labels: Labels
    other: Chemistry | None = None
    own_B: Tensor | None = None

    def exchanged(self) -> Sample:
        """The same with other compositions where they are to be shown, of which no energy is known."""
        if self.other is None or self.own_B is None:
            return self
        own_B, known = self.own_B, self.labels
        parts = (
            torch.where(own_B if mine.ndim == 1 else own_B[:, None], mine, other)
            for mine, other in zip(self.given, self.other, strict=True)
        )
        energy_B, gap_B = (torch.where(own_B, v, math.nan) for v in (known.energy_B, known.gap_B))
        labels = replace(known, energy_B=energy_B, gap_B=gap_B)
        return replace(self, given=Chemistry(*parts), labels=labels)


@dataclass(frozen=True, eq=False)
class XxactData:
    """Views and labels of all structures, on a device.

    clean, noisy: views that patterns are drawn from (`noisy`: one or several stage-2 views).
    train: rows to train on, in a fixed order; labelled: how many of them, the first, have an energy.
    judged: validation rows with an energy. scales: of energy and gap over the training rows.
    corpus: a name for the record.
    copies: rows of symmetric copies of training structures, or None. rendered: makes patterns of any rows
    while training; None where views are all that is shown.
    """

    given: Chemistry
    labels: Labels
    clean: View | None
    noisy: tuple[View, ...]
    train: Tensor
    labelled: int
    judged: Tensor
    scales: tuple[Scale, Scale]
    corpus: str
    copies: Tensor | None = None
    rendered: Rendered | None = None

    def sample(self, config: XxactTrain, step: int, first: int, count: int) -> Sample:
        """Patterns first .. first + count - 1 of the batch of a step."""
        generator = torch.Generator().manual_seed((config.seed * 1_000_003 + step) % 2**63)
        batch = config.batch
        if config.rows == "half":
            half = batch // 2
            place = torch.cat(
                [
                    _walk(self.labelled, config.seed, step * half, half),
                    _walk(len(self.train), config.seed + 1, step * (batch - half), batch - half),
                ]
            )
        else:
            count_all = len(self.train) if config.rows == "all" else self.labelled
            place = _walk(count_all, config.seed, step * batch, batch)
        which = torch.randint(len(self.noisy) or 1, (batch,), generator=generator)
        noisy = (
            torch.rand(batch, generator=generator)
            < {"clean": 0.0, "stage2": 1.0, "mixed": 0.5}[config.patterns]
        )
        mine = slice(first, first + count)
        device = self.train.device
        rows = self.train[place[mine].to(device)]
        if self.rendered is not None:
            rows = self._copied(rows, config, mine, generator)
            found = self._rendered(self.rendered, rows, noisy[mine].to(device), config, step, mine)
        else:
            found = self.of_rows(rows, noisy[mine].to(device), which[mine].to(device))
        if config.exchanged:
            own = torch.rand(batch, generator=generator)[mine].to(device) >= config.exchanged
            other = torch.randint(len(self.given.element_BE), (batch,), generator=generator)[mine].to(device)
            found = replace(found, other=Chemistry(*(part[other] for part in self.given)), own_B=own)
        if not (config.stretch or config.contrast):
            return found
        by = (2.0 * torch.rand(2, batch, generator=generator) - 1.0) * ~noisy
        scale, power = by[:, mine].to(device)
        shown = found.intensity_BL
        if self.rendered is None:
            shown = stretched(shown, (config.stretch * scale).exp(), config.network.grid)
            shown = shown / shown.amax(1, keepdim=True).clamp(min=1e-6)
        return replace(found, intensity_BL=shown.pow((config.contrast * power).exp()[:, None]))

    def _copied(self, rows: Tensor, config: XxactTrain, mine: slice, generator: torch.Generator) -> Tensor:
        """Those rows, or by chance rows of copies; never in the half of a batch that is to have energies."""
        if self.copies is None:
            return rows
        copied = torch.rand(config.batch, generator=generator) < config.copies
        if config.rows == "half":
            copied[: config.batch // 2] = False
        other = torch.randint(len(self.copies), (config.batch,), generator=generator)
        copied, other = copied[mine].to(rows.device), other[mine].to(rows.device)
        return torch.where(copied, self.copies[other], rows)

    def _rendered(
        self, rendered: Rendered, rows: Tensor, noisy: Tensor, config: XxactTrain, step: int, mine: slice
    ) -> Sample:
        """Patterns made now: clean ones, and of stage 2 where `noisy`."""
        number = step * config.batch + torch.arange(mine.start, mine.stop, device=rows.device)
        shown = torch.empty(len(rows), config.network.length, device=rows.device)
        coverage = torch.ones(shown.shape, dtype=torch.bool, device=rows.device)
        clean, worse = (~noisy).nonzero()[:, 0], noisy.nonzero()[:, 0]
        if len(clean):
            shown[clean] = rendered.patterns(rows[clean], CounterRandom(config.seed, number[clean]))
        if len(worse):
            shown[worse], coverage[worse] = rendered.measured(rows[worse], number[worse], config.seed)
        given = Chemistry(*(part[rows] for part in self.given))
        return Sample(shown, coverage if len(worse) else None, given, self.labels.take(rows))

    def of_rows(self, rows: Tensor, noisy: Tensor | None = None, which: Tensor | None = None) -> Sample:
        """The structures of those rows; clean patterns where not `noisy`, otherwise of view `which`."""
        given = Chemistry(*(part[rows] for part in self.given))
        labels = self.labels.take(rows)
        if noisy is None or which is None or not self.noisy:
            assert self.clean is not None, "made where clean patterns are asked for"
            return Sample(*self.clean.take(rows), given, labels)
        intensity, coverage = self.noisy[0].take(rows)
        assert coverage is not None, "stage-2 views say what was covered"
        for number, view in enumerate(self.noisy[1:], 1):
            other, covered = view.take(rows)
            intensity = torch.where((which == number)[:, None], other, intensity)
            coverage = torch.where((which == number)[:, None], covered, coverage)  # pyright: ignore
        if self.clean is not None:
            plain, _ = self.clean.take(rows)
            intensity = torch.where(noisy[:, None], intensity, plain)
            coverage = coverage | ~noisy[:, None]
        return Sample(intensity, coverage, given, labels)


def _walk(count: int, seed: int, start: int, n: int) -> Tensor:
    """Numbers start .. start + n - 1 of an endless walk through 0 .. count - 1, shuffled anew each time."""
    found, place = [], start
    while place < start + n:
        epoch, within = divmod(place, count)
        order = _order(count, seed * 100_003 + epoch)
        taken = order[within : within + start + n - place]
        found.append(taken)
        place += len(taken)
    return torch.cat(found)


_last: dict[tuple[int, int], Tensor] = {}


def _order(count: int, seed: int) -> Tensor:
    """A permutation; the last few are remembered, as each is walked through in many steps."""
    key = (count, seed)
    if key not in _last:
        while len(_last) >= 4:
            _last.pop(next(iter(_last)))
        _last[key] = torch.randperm(count, generator=torch.Generator().manual_seed(seed % 2**63))
    return _last[key]


def open_xxact(path: Path, config: XxactTrain, device: torch.device, views: Path | None = None) -> XxactData:
    """Materials of a file (`eg-train materials`) and their views. views: folder that keeps views, or None."""
    materials = Materials.load(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    name = f"{path.stem} ({len(materials):,} structures, SHA-256 {digest})"
    wanted = materials.part != TEST
    if config.rows == "labelled":
        wanted &= np.isfinite(materials.energy)
    copies = materials.copies
    materials = materials.only(np.flatnonzero(wanted))
    grid = config.network.grid
    clean: View | None = None
    noisy: list[View] = []
    known = (
        f"{digest}-{config.rows == 'labelled':d}-{grid.length}-{grid.two_theta_min:g}-{grid.two_theta_max:g}"
    )
    # Validation structures are judged on views; where training patterns are made anew, on clean ones alone.
    views_of = (
        ("clean",)
        if config.rendered
        else {"clean": ("clean",), "stage2": ("stage2",), "mixed": ("clean", "ranges")}[config.patterns]
    )
    for view_name in views_of if config.inputs != "composition" else ("clean",):
        count = 1 if view_name == "clean" else config.views
        for number in range(count):
            if config.inputs == "composition":  # the pattern is never shown
                view = View(torch.zeros(len(materials), 1, dtype=torch.uint8))
            elif views is None:
                view = condition(view_name, materials.corpus, grid, device, seed=1000 + number)
            else:
                view = kept(
                    views / f"{known}-{view_name}-{number}.npz",
                    partial(condition, view_name, materials.corpus, grid, device, seed=1000 + number),
                    len(materials),
                )
            if view_name == "clean":
                clean = view.to(device)
            else:
                noisy.append(view.to(device))
    rows = _training_rows(materials, config)
    energy, gap = torch.from_numpy(materials.energy), torch.from_numpy(materials.gap)
    labelled = torch.isfinite(energy[rows])
    if not labelled.any():
        raise BadInput(f"no training structure of {path} has a formation energy.")
    rows = torch.cat([rows[labelled], rows[~labelled]])
    judged = np.flatnonzero((materials.part == VALIDATION) & np.isfinite(materials.energy))
    judged = np.random.default_rng(0).permutation(judged)[:JUDGED]
    scales = _scale(energy[rows]), _scale(gap[rows])
    given, corpus = materials.chemistry, materials.corpus
    if config.copies:
        if copies is None:
            raise BadInput(f"{path} holds no copies: make it with eg-train materials --copies 8.")
        more = chemistry_of(np.array(copies.formulas))
        given = Chemistry(*(torch.cat(pair) for pair in zip(given, more, strict=True)))
        corpus = merge([corpus, copies])
        unknown = torch.full((len(copies),), math.nan)
        energy, gap = torch.cat([energy, unknown]), torch.cat([gap, unknown])
    labels = _labels(corpus, energy, gap, rows, device)
    return XxactData(
        given.to(device),
        labels,
        clean,
        tuple(noisy),
        rows.to(device),
        int(labelled.sum()),
        torch.from_numpy(judged).to(device),
        scales,
        name,
        torch.arange(len(materials), len(corpus), device=device) if config.copies else None,
        Rendered(corpus, grid, device, common=config.stretch, axes=config.strain, widest=config.widest)
        if config.rendered
        else None,
    )


def _labels(corpus: Corpus, energy: Tensor, gap: Tensor, rows: Tensor, device: torch.device) -> Labels:
    """Of all structures of a corpus; rows: those whose cells say what is usual."""
    edges, angles = corpus.cell[:, :3].astype(np.float64), np.radians(corpus.cell[:, 3:].astype(np.float64))
    cosine = np.cos(angles)
    # Of a cell with edges of 1; no cell of a corpus is flat.
    unit = np.sqrt(np.maximum(1.0 - (cosine**2).sum(1) + 2.0 * cosine.prod(1), 1e-6))
    size = np.log(np.column_stack([np.sort(edges, axis=1), edges.prod(axis=1) * unit]))
    usual = size[rows.numpy()]
    lattice = (size - usual.mean(axis=0)) / np.maximum(usual.std(axis=0), 1e-3)
    return Labels(
        energy.to(device),
        gap.to(device),
        torch.from_numpy(system_of(corpus.space_group)).to(device),
        torch.from_numpy(corpus.group.astype(np.int64) - 1).to(device),
        torch.from_numpy(lattice.astype(np.float32)).to(device),
    )


def _training_rows(materials: Materials, config: XxactTrain) -> Tensor:
    """Rows of the training part; of `share` of its formulas, the same ones at every size of the others."""
    formulas = materials.formulas
    train = np.flatnonzero(materials.part == TRAIN)
    if config.share < 1.0:
        # A smaller share is a part of each greater one, and does not depend on the order of the table.
        chance = {
            f: int.from_bytes(hashlib.blake2b(f.encode(), digest_size=8).digest()) / 2**64
            for f in set(formulas[train].tolist())
        }
        train = train[[chance[f] < config.share for f in formulas[train].tolist()]]
    if not len(train):
        raise BadInput(f"no training structure is left of a share of {config.share:g}.")
    return torch.from_numpy(train)


def _scale(values: Tensor) -> Scale:
    known = values[values.isfinite()].double()
    if len(known) < 2:
        return Scale(0.0, 1.0)
    return Scale(float(known.mean()), max(1e-3, float(known.std())))


def shown(network: Xxact, sample: Sample, inputs: str):
    """Arguments of `Xxact.encode` for what is shown."""
    given = None if inputs == "xrd" else sample.given
    if inputs == "composition":
        return None, None, given
    return sample.intensity_BL, sample.coverage_BL, given
