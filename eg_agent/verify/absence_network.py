"""What the intensities of all lines say of a candidate's absences, learned from structures.

The evidence of absences (`eg_agent.verify.score`) takes lines for independent, and gives the structures that
hide a class of lines a constant share. This network has seen what lines real structures have: it reads each
line's intensity and error (`line_features`), adds up what a candidate forbids and allows on every axis, in
every zone and elsewhere (`line_kinds`), and gives a log-likelihood of the candidate. It was trained on line
intensities calculated from structures (`trainer.absences`), never on measured ones. docs/decisions/0020.

    lattice: shape of the lattice -> a vector that goes with all that follows
    psi: features and class of a line -> two vectors, one for a line that is forbidden, one for an allowed one
    rho: sums over the lines of a kind, forbidden and allowed -> a vector; summed over the kinds
    out: that, the sums over all lines and the candidate's group -> score

Beside it stand networks that know whole patterns again, as isotypes have them, whatever is absent in them:
all lines as curves (`line_spectrum`) and the family -> the 99 groups; their mean counts. docs/decisions/0023.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eg_agent.verify.lattice_shape import shape_features
from eg_agent.verify.layers import Layer, layers_of, through
from eg_agent.verify.line_features import LineFeatures
from eg_agent.verify.line_kinds import CLASSES, FAMILIES, N_KINDS
from eg_agent.verify.line_spectrum import line_spectrum

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

WEIGHTS = Path(__file__).with_name("absence_network.safetensors")
#: Layers of the parts, and of each network that looks at all lines.
PARTS = {"lattice": 2, "psi": 3, "rho": 2, "out": 3}
WHOLE = 3


@dataclass(frozen=True, eq=False)
class Learned:
    """What was learned from structures' lines of candidates, [c] log-likelihoods up to a constant, nats:
    absences, by what each forbids; whole, by what all lines together look like."""

    absences: Floats
    whole: Floats


@dataclass(frozen=True, eq=False)
class AbsenceNetwork:
    """classes: [N_CLASSES, e] what a class of kinds is taken for; groups: [100, f] what a group is taken for,
    by number; layers: weights [out, in] and biases [out] of each part, SiLU between them; whole: networks
    [N_SPECTRUM + families -> 99] over all lines."""

    classes: Floats
    groups: Floats
    layers: dict[str, list[Layer]]
    whole: Sequence[Sequence[Layer]] = ()

    def score(self, lines: LineFeatures, forbidden: Mask, groups: Ints) -> Floats:
        """[c] log-likelihoods up to a constant, nats, of candidates that forbid lines [c, k], with numbers
        of groups [c]."""
        kind_of_class = self.classes[CLASSES[lines.family]]
        shape = shape_features(np.array([lines.family]), lines.shape[None])
        lattice = through(self.layers["lattice"], shape)[0]
        of_lines = np.broadcast_to(lattice, (len(lines.values), lattice.size))
        said = through(self.layers["psi"], np.hstack([lines.values, kind_of_class[lines.kinds], of_lines]))
        ones = np.ones((len(said), 1))
        half = said.shape[1] // 2
        of_kind = np.eye(N_KINDS)[lines.kinds]

        def by_kind(values: Floats) -> Floats:
            # [k, kind * (half + 1)]: a line's vector, and a 1 that counts it, in the place of its kind
            return (of_kind[:, :, None] * np.hstack([values, ones])[:, None, :]).reshape(len(values), -1)

        mask = forbidden.astype(np.float64)
        off = (mask @ by_kind(said[:, :half])).reshape(-1, N_KINDS, half + 1)
        on = ((1.0 - mask) @ by_kind(said[:, half:])).reshape(-1, N_KINDS, half + 1)
        there = (off[..., -1] + on[..., -1]) > 0.5
        kind = np.broadcast_to(kind_of_class, (len(mask), *kind_of_class.shape))
        around = np.broadcast_to(lattice, (*kind.shape[:2], lattice.size))
        each = through(self.layers["rho"], np.concatenate([summed(off, on), kind, around], axis=-1))
        inside = (each * there[..., None]).sum(axis=1)
        total = summed(off.sum(axis=1), on.sum(axis=1))
        around = np.broadcast_to(lattice, (len(mask), lattice.size))
        last = np.concatenate([inside, total, around, self.groups[groups]], axis=-1)
        return through(self.layers["out"], last)[..., 0]

    def of_whole(self, lines: LineFeatures) -> Floats:
        """[99] log-likelihoods of the groups up to a constant, nats, by what all lines together look like."""
        if not self.whole:
            return np.zeros(len(self.groups) - 1)
        inputs = np.append(line_spectrum(lines.values), np.eye(len(FAMILIES))[lines.family])
        return np.mean([through(layers, inputs) for layers in self.whole], axis=0)


def summed(off: Floats, on: Floats) -> Floats:
    """[..., 4 d + 4] of sums of vectors of forbidden and of allowed lines, [..., d + 1], their number last:
    the logarithms of the sums with their signs, the means, and what there is how often."""
    counts = off[..., -1:], on[..., -1:]
    parts = []
    for sums, count in zip((off[..., :-1], on[..., :-1]), counts, strict=True):
        parts += [np.sign(sums) * np.log1p(np.abs(sums)), sums / (1.0 + count)]
    many_off, many_on = counts
    parts += [np.log1p(many_off), np.log1p(many_on), (many_off > 0.5) * 1.0]
    parts.append(many_off / (many_off + many_on + 1.0))
    return np.concatenate(parts, axis=-1)


def network_of(tensors: dict[str, Any]) -> AbsenceNetwork:
    """The network of named arrays: "classes", "groups", "psi.0.weight", "psi.0.bias" and so on, and "whole
    0.0.weight" and so on."""
    layers = {part: layers_of(tensors, part, count) for part, count in PARTS.items()}
    classes, groups = (np.asarray(tensors[name], dtype=np.float64) for name in ("classes", "groups"))
    members = {name.split(".")[0] for name in tensors if name.startswith("whole ")}
    whole = [layers_of(tensors, member, WHOLE) for member in sorted(members)]
    return AbsenceNetwork(classes, groups, layers, whole)


@cache
def shipped() -> AbsenceNetwork:
    """The network in the package."""
    from safetensors.numpy import load_file

    return network_of(load_file(WEIGHTS))
