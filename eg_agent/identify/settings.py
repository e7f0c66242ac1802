"""`IdentifySettings`: the constants of the fusion and of the verdict, in one place.

None of them was chosen on measured patterns. Where a default comes from is said beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import ConfigDict

from eg_agent.errors import BadInput
from eg_agent.values import VALUE_CONFIG

#: Seconds that looking for a cell may take at most.
LONGEST_INDEXING = 60.0


@dataclass(frozen=True, slots=True)
class IdentifySettings:
    """How network and evidence are fused, and when a group counts as identified.

    fusion: how network and evidence become one answer where a cell is given: "joint", weighed by what the
        measurement is like (`eg_agent.identify.joint`), or "product", the product of powers of both.
    network_weight: power of the network's posterior in the product (1: as calibrated).
    evidence_weight: power of the evidence in the product, 0-1. 1: what a fit says is pooled so that its odds
        hold as they are (`eg_agent.verify.pooling`): 80.2 % claimed, 80.8 % right on 488 simulated patterns,
        out of fold.
    library_weight: power of what a library says, 0-1. 1: its constants were fitted on simulated patterns, and
        fitting them again beside a network changed them little (`trainer.library`).
    misled: probability that the evidence as a whole says nothing (another phase's cell, a misfit that
        the fit does not notice). It is the floor that keeps every group possible; a judgement, which
        costs 0.02 nats on simulated fits, where no cell is wrong.
    identified: fused probability from which a group is identified.
    coverage: probability that the prediction set has to reach.
    flat_information: nats between the answer and its prior below which the pattern has said nothing.
    contradiction: nats of odds against the leading group in one single reflection that it forbids and
        that is seen all the same, from which fit and answer contradict each other.
    candidates: which groups of the lattice the verifier scores: all of them, or the network's branch of the
        subgroup graph, followed further where the evidence leads (see `eg_agent.identify.branches`).
    seen_at: standard errors at which a reflection counts as seen, for the seconds that would settle.
    window: degrees; half width of the window proposed around a deciding reflection.
    top: groups listed in the answer. matches: structures of a library listed in it.
    time_limit: seconds for the verifier; a refinement that is near it stops early and says so.
    index_seconds: seconds to look for a cell where none was given, fits of the cells found included; at most
        60. 0 (as for the agent at the beamline, which must answer in time): the network speaks alone.
    index_cells: proposed cells that are fitted. index_behind: nats of indexing score behind the best proposal
        from which a cell is not worth a fit.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    fusion: Literal["joint", "product"] = "joint"
    network_weight: float = 1.0
    evidence_weight: float = 1.0
    library_weight: float = 1.0
    misled: float = 0.02
    identified: float = 0.9
    coverage: float = 0.9
    flat_information: float = 0.3
    contradiction: float = 5.0
    candidates: Literal["lattice", "branch"] = "lattice"
    seen_at: float = 4.0
    window: float = 0.4
    top: int = 10
    matches: int = 5
    time_limit: float = 10.0
    index_seconds: float = 0.0
    index_cells: int = 3
    index_behind: float = 30.0

    def __post_init__(self) -> None:
        for name in ("network_weight", "evidence_weight", "library_weight"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise BadInput(f"{name} is {getattr(self, name):g}: give a power between 0 and 1.")
        for name in ("misled", "identified", "coverage"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise BadInput(f"{name} is {getattr(self, name):g}: give a probability between 0 and 1.")
        if not 0.0 <= self.index_seconds <= LONGEST_INDEXING:
            raise BadInput(
                f"index_seconds is {self.index_seconds:g}: give 0 (no indexing) to {LONGEST_INDEXING:g}."
            )
        for name in ("seen_at", "window", "time_limit", "top", "matches", "index_cells", "index_behind"):
            if not getattr(self, name) > 0:
                raise BadInput(f"{name} is {getattr(self, name):g}: give a number above 0.")
