"""What `eg-agent verify` says of one pattern, put together once for the table, the JSON and the picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from eg_agent.identify import Identification
from eg_agent.identify.settings import IdentifySettings
from eg_agent.patterns import Pattern, check, evened
from eg_agent.symmetry.space_groups import SpaceGroup, space_groups_of
from eg_agent.verify import Evidence, VerifySettings
from eg_agent.verify.fitting import NotFitted
from eg_agent.verify.predicted import Contrast, contrast, predict
from eg_agent.verify.report import lmfit_parameters
from eg_agent.verify.verifier import Weighed, weigh

if TYPE_CHECKING:
    from eg_agent.identify.identifier import Identifier
    from eg_agent.view.fit import CloseUp, ShownCandidate

#: Groups listed without `--all`, unless fewer hold so much of the probability.
LISTED, HELD = 8, 0.999
#: Candidates in the picture; rivals that the leading one is explained against.
DRAWN, RIVALS = 4, 3


@dataclass(frozen=True, slots=True)
class Row:
    """A symbol of the table: a group in one setting.

    index: into the weighed candidates; log_evidence: nats relative to the lattice without absences;
    probability: of the group, with a uniform prior; fused: with the network's posterior as prior.
    """

    index: int
    group: int
    symbol: str
    space_groups: tuple[SpaceGroup, ...]
    log_evidence: float
    probability: float
    fused: float
    n_allowed: int
    n_forbidden: int
    rwp: float | None


@dataclass(frozen=True, eq=False)
class Verification:
    """An identification with all candidates of the cell weighed, and the fit behind it (None: not fitted)."""

    pattern: Pattern
    identification: Identification
    weighed: Weighed | None

    @property
    def evidence(self) -> Evidence:
        """The verifier's answer."""
        assert self.identification.evidence is not None
        return self.identification.evidence

    @cached_property
    def parameters(self) -> dict[str, tuple[float, float]]:
        """Refined values and standard errors (NaN where held) by name; empty when not fitted."""
        if self.weighed is None:
            return {}
        found = lmfit_parameters(self.weighed.fit)
        return {
            name: (float(p.value), math.nan if p.stderr is None else float(p.stderr))
            for name, p in found.items()
        }

    @cached_property
    def groups(self) -> tuple[Row, ...]:
        """One row a group, in its best setting, best first by evidence."""
        rows, seen = [], set[int]()
        for row in self.symbols:
            if row.group not in seen:
                seen.add(row.group)
                rows.append(row)
        known = {c.group: c for c in self.evidence.candidates}
        rows = [
            replace(r, log_evidence=known[r.group].log_evidence, rwp=known[r.group].rwp)
            for r in rows
            if r.group in known
        ]
        return tuple(sorted(rows, key=lambda r: (-r.log_evidence, r.group)))

    @cached_property
    def symbols(self) -> tuple[Row, ...]:
        """One row a symbol (a group in one setting), best first by evidence."""
        if self.weighed is None:
            return ()
        alone, fused = self.identification.evidence_only, self.identification.log_probability
        rows = []
        for i, (candidate, value) in enumerate(
            zip(self.weighed.candidates, self.weighed.scores.log_evidence.tolist(), strict=True)
        ):
            number = candidate.setting.group
            allowed = int((candidate.allowed > 0).sum())
            rows.append(
                Row(
                    index=i,
                    group=number,
                    symbol=candidate.setting.symbol,
                    space_groups=(),
                    log_evidence=value,
                    probability=_probability(alone, number),
                    fused=_probability(fused, number),
                    n_allowed=allowed,
                    n_forbidden=candidate.allowed.size - allowed,
                    rwp=None,
                )
            )
        return tuple(sorted(rows, key=lambda r: (-r.log_evidence, r.group, r.symbol)))

    def listed(self, *, everything: bool) -> tuple[Row, ...]:
        """The rows to print, with their space groups: all symbols, or the leading groups."""
        assert self.weighed is not None
        if everything:
            rows: Sequence[Row] = self.symbols
        else:
            held = np.cumsum([row.probability for row in self.groups])
            rows = self.groups[: max(2, min(LISTED, int(np.searchsorted(held, HELD)) + 1))]
        settings = [self.weighed.candidates[row.index].setting for row in rows]
        return tuple(
            replace(row, space_groups=space_groups_of(setting))
            for row, setting in zip(rows, settings, strict=True)
        )

    def contrasts(self, count: int) -> tuple[tuple[Row, tuple[Contrast, ...]], ...]:
        """For the next groups after the first: where the two disagree, the most telling places first."""
        if self.weighed is None:
            return ()
        first = self.groups[0]
        return tuple(
            (row, contrast(self.pattern, self.weighed, first.index, row.index, count))
            for row in self.groups[1 : 1 + RIVALS]
        )

    def drawn(self) -> tuple[list[ShownCandidate], list[CloseUp]]:
        """What the picture shows of the candidates."""
        from eg_agent.view.fit import CloseUp, ShownCandidate

        if self.weighed is None:
            return [], []
        likelihood = self.weighed.likelihood
        shown = []
        for row in self.groups[:DRAWN]:
            candidate = self.weighed.candidates[row.index]
            spelled = ", ".join(g.symbol for g in space_groups_of(candidate.setting))
            shown.append(
                ShownCandidate(
                    predicted=predict(self.pattern, self.weighed, candidate),
                    lines=likelihood.two_theta,
                    allowed=candidate.allowed > 0,
                    log_evidence=row.log_evidence,
                    probability=row.probability,
                    fused=row.fused if self.identification.network is not None else None,
                    space_groups=spelled,
                )
            )
        fwhm = likelihood.solution.width.fwhm
        found: dict[tuple[int, ...], CloseUp] = {}
        for place in range(6):
            for rival, (_, places) in enumerate(self.contrasts(6), start=1):
                if place < len(places) and len(found) < 6 and places[place].hkl not in found:
                    near = int(np.argmin(np.abs(likelihood.two_theta - places[place].two_theta)))
                    found[places[place].hkl] = CloseUp(places[place], rival, float(fwhm[near]))
        return shown, sorted(found.values(), key=lambda c: c.contrast.two_theta)

    def as_json(self, *, everything: bool) -> dict[str, Any]:
        """Plain JSON types; the fields are listed in docs/how-to/verify.md."""
        evidence, answer = self.evidence, self.identification
        found: dict[str, Any] = {
            "file": answer.provenance.source.name,
            "status": evidence.status,
            "reason": evidence.reason,
            "lattice": evidence.lattice,
            "cell": None if evidence.cell is None else list(evidence.cell),
            "rwp": evidence.rwp,
            "goodness_of_fit": evidence.goodness_of_fit,
            "parameters": {
                name: {"value": value, "error": error if math.isfinite(error) and error > 0 else None}
                for name, (value, error) in self.parameters.items()
            },
            "candidates": [],
            "contrasts": [],
            "checkpoint": answer.provenance.checkpoint,
            "prior": answer.provenance.prior,
            "version": answer.provenance.version,
            "pattern_uid": answer.provenance.pattern_uid,
        }
        if self.weighed is None:
            return found
        deciding = {c.group: c.deciding for c in evidence.candidates}
        for row in self.listed(everything=everything):
            item = asdict(row)
            del item["index"]
            leading = row.symbol == next(r.symbol for r in self.groups if r.group == row.group)
            item["deciding"] = [asdict(d) for d in deciding.get(row.group, ())] if leading else []
            found["candidates"].append(item)
        for rival, places in self.contrasts(5):
            found["contrasts"].append(
                {
                    "first": self.groups[0].symbol,
                    "second": rival.symbol,
                    "reflections": [asdict(place) for place in places],
                }
            )
        return found


def _probability(log_probability: np.ndarray | None, group: int) -> float:
    return 0.0 if log_probability is None else float(np.exp(log_probability[group - 1]))


def verification(
    identifier: Identifier, pattern: Pattern, cell: tuple[float, ...], settings: VerifySettings
) -> Verification:
    """The answer of an identifier that scores the whole lattice, and the same fit opened.

    Raises BadPattern for a pattern that is refused.
    """
    answer = identifier.identify(pattern, cell)
    checked = evened(check(pattern))
    try:
        weighed = weigh(checked, cell, settings=settings)
    except NotFitted:
        weighed = None
    if answer.evidence is not None and answer.evidence.status != "fitted":
        weighed = None
    return Verification(checked, answer, weighed)


def identify_settings(time_limit: float) -> IdentifySettings:
    """Settings under which every group of the lattice is scored."""
    return IdentifySettings(candidates="lattice", time_limit=time_limit)
