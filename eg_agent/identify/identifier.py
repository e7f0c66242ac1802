"""`Identifier`: check, network, fit, fusion, verdict. The model is loaded once, by the constructor."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from eg_agent import __version__
from eg_agent.errors import BadPattern, TooWeak
from eg_agent.identify import joint
from eg_agent.identify.branches import beyond, branch_of_set, groups_of_cell
from eg_agent.identify.completing import completed
from eg_agent.identify.fusion import evidence_posterior, fuse, normalise, prediction_set, ranking
from eg_agent.identify.identification import GroupProbability, Identification, Provenance, Settle
from eg_agent.identify.measured import measured
from eg_agent.identify.mixture import MixtureConstants
from eg_agent.identify.settings import IdentifySettings
from eg_agent.identify.settle import being_told, would_settle
from eg_agent.identify.space_groups import in_axes
from eg_agent.identify.unknown_cell import Weighed, try_cells, weigh_cells
from eg_agent.identify.verdict import judge
from eg_agent.patterns import Pattern, Source, check, evened, read
from eg_agent.symmetry import group, space_group_symbols
from eg_agent.verify import Evidence, VerifySettings, no_cell, verify
from eg_agent.verify.metric import Cell, check_cell

if TYPE_CHECKING:
    from eg_agent.chemistry import Composition
    from eg_agent.library import Library, Lookup
    from eg_agent.model import Classifier, Posterior
    from eg_agent.model.estimate import PropertyEstimate
    from eg_agent.model.properties import PropertyModel

#: Times that a branch of the subgroup graph is followed further, each a fit.
FOLLOWED = 3
#: Of so many groups the space groups are written in the axes of the fit: the others are hardly asked for.
IN_AXES = 5


class Identifier:
    """Identifies the extinction group of patterns with one checkpoint, one prior, one set of constants.

    checkpoint: name of a shipped checkpoint, a path, or a `Classifier` that is loaded already (its own
        prior then counts). prior: "mineral", "inorganic", "organic", "uniform", or a file.
    library: known structures to look patterns up in, a `Library` or the path of one; None for no lookup.

    Deterministic: the same pattern, cell, checkpoint and settings give the same answer (times apart).
    """

    def __init__(
        self,
        checkpoint: str | Path | Classifier = "default",
        prior: str | Path = "mineral",
        settings: IdentifySettings | None = None,
        *,
        library: Library | str | Path | None = None,
    ) -> None:
        if isinstance(library, (str, Path)):
            from eg_agent.library import Library

            library = Library.load(library)  # before the network: a wrong path is said at once
        self.library = library
        if isinstance(checkpoint, (str, Path)):
            from eg_agent.model import Classifier  # torch takes a second; only an Identifier needs it

            self.classifier = Classifier.load(checkpoint, prior)
        else:
            self.classifier = checkpoint
        self.settings = settings or IdentifySettings()
        self._property_model: PropertyModel | None = None  # read when a composition is first told

    def identify(
        self,
        pattern: Pattern,
        cell: Sequence[float] | None = None,
        composition: Composition | None = None,
    ) -> Identification:
        """The answer for a pattern. Bad data give the verdict `refused` with the reason, no exception.

        Windows may have been counted for different times (`counting_time`). A refused pattern has `measured`
        only where counting longer is the remedy.

        cell: a b c (angstrom) alpha beta gamma (degrees), conventional, where it is known.
        composition: what is known of the chemistry; one that contradicts the pattern is not used, and the
            answer says so.
        Raises BadInput for an impossible cell, and for a composition where the checkpoint reads none: that is
        a wrong argument, not bad data.
        """
        started = time.perf_counter()
        given = None if cell is None else check_cell(tuple(cell))
        provenance = self._provenance(pattern.uid, pattern.source, given)
        try:
            pattern = check(pattern)
            provenance = self._provenance(pattern.uid, pattern.source, given)
            pattern = evened(pattern)
            network = self.classifier.predict(completed(pattern, given), composition)
        except BadPattern as error:
            weak = measured(pattern) if isinstance(error, TooWeak) else None
            answer = refused(str(error), provenance)
            return replace(answer, measured=weak, seconds=time.perf_counter() - started)
        constants = self.settings
        lookup = self.lookup(pattern)
        known = None
        if lookup is not None:
            weights = self.classifier.card.library
            known = weights.added(network.log_probability, network.log_prior, lookup.log_probability)
        before = fuse(network.log_probability, None, constants, known)
        if given is None and constants.index_seconds > 0.0:
            search = try_cells(pattern, before, constants, self.library)
            weighed = weigh_cells(search, before, MixtureConstants(power=constants.evidence_weight))
        else:
            evidence, alone = self._evidence(pattern, given, before)
            weighed = Weighed(
                evidence, alone, self._fused(network, evidence, alone, given, known, composition)
            )
        evidence, fused = weighed.evidence, weighed.fused
        units = None
        if self._jointly(evidence, given) and not network.contradicts:
            units = joint.units_of(evidence.cell, composition)
        chosen = prediction_set(fused, constants.coverage)
        judgement = judge(
            fused, network, evidence, chosen, constants, lookup, weighed.cells, weighed.no_cell, units
        )
        settles: tuple[Settle, ...] = ()
        if judgement.verdict != "identified":
            first, second = (int(i) + 1 for i in ranking(fused)[:2])
            settles = would_settle(pattern, evidence, fused, (first, second), constants)
            if composition is None and self.classifier.composition is not None:
                settles += (being_told(pattern, (first, second)),)
        return Identification(
            verdict=judgement.verdict,
            reason=judgement.reason,
            provenance=provenance,
            top=rows(fused, constants.top, evidence),
            log_probability=fused,
            network=network,
            evidence=evidence,
            evidence_only=weighed.alone,
            prediction_set=chosen,
            set_coverage=constants.coverage,
            would_settle=settles,
            measured=measured(pattern),
            lookup=lookup,
            properties=self.properties(pattern, composition, network),
            cells=weighed.cells,
            no_cell=weighed.no_cell,
            formula_units=units,
            seconds=time.perf_counter() - started,
        )

    def identify_file(
        self,
        path: str | Path,
        cell: Sequence[float] | None = None,
        *,
        wavelength: float | None = None,
        wavelength2: float | None = None,
        composition: Composition | None = None,
    ) -> Identification:
        """The answer for a file; unreadable data give `refused`.

        wavelength, wavelength2: angstrom, for files that do not say.
        Raises BadInput where there is no such file.
        """
        return self.identify_read(
            path, cell, wavelength=wavelength, wavelength2=wavelength2, composition=composition
        )[1]

    def identify_read(
        self,
        path: str | Path,
        cell: Sequence[float] | None = None,
        *,
        wavelength: float | None = None,
        wavelength2: float | None = None,
        composition: Composition | None = None,
    ) -> tuple[Pattern | None, Identification]:
        """As `identify_file`, with the pattern that was read (None where it could not be)."""
        try:
            pattern = read(path, wavelength=wavelength, wavelength2=wavelength2)
        except BadPattern as error:
            return None, self.refuse(path, str(error), cell)
        return pattern, self.identify(pattern, cell, composition)

    def refuse(self, path: str | Path, reason: str, cell: Sequence[float] | None = None) -> Identification:
        """The answer for a file that could not be read, with this identifier's provenance."""
        given = None if cell is None else check_cell(tuple(cell))
        return refused(reason, self._provenance("", Source(kind="file", name=str(path)), given))

    def lookup(self, pattern: Pattern) -> Lookup | None:
        """What the library says; None without one, and for a pattern that it cannot be compared with."""
        if self.library is None or pattern.radiation.kind != "x-ray":
            return None
        try:
            return self.library.search(pattern, self.settings.matches).lookup(self.settings.matches)
        except BadPattern:
            return None

    def properties(
        self, pattern: Pattern, composition: Composition | None, network: Posterior
    ) -> PropertyEstimate | None:
        """What pattern and composition lead to expect of formation energy, gap and crystal system.

        None without amounts, for a composition that contradicts the pattern, for neutrons, for a pattern off
        the network's grid, and where this installation ships no multimodal checkpoint.
        """
        if composition is None or not composition.exact or network.contradicts:
            return None
        if pattern.radiation.kind != "x-ray":
            return None
        from eg_agent.model.properties import PropertyModel, shipped_properties

        if self._property_model is None and "default" in shipped_properties():
            self._property_model = PropertyModel.load()
        if self._property_model is None:
            return None
        try:
            return self._property_model.estimate(pattern, composition)
        except BadPattern:
            return None

    def _evidence(
        self, pattern: Pattern, cell: Cell | None, log_probability: npt.NDArray[np.float64]
    ) -> tuple[Evidence, npt.NDArray[np.float64] | None]:
        """The fit's evidence, and the posterior it makes alone; log_probability: without it."""
        if cell is None:
            return no_cell(), None
        carried = groups_of_cell(cell)
        bounds = VerifySettings(time_limit=self.settings.time_limit)
        numbers = self._candidates(log_probability, carried)
        try:
            evidence = verify(pattern, cell, candidates=numbers, settings=bounds)
            for _ in range(FOLLOWED if numbers is not None else 0):
                weighed = {c.group: c.log_evidence for c in evidence.candidates}
                further = beyond(weighed, carried) if weighed else []
                if not further:
                    break
                evidence = verify(pattern, cell, candidates=sorted({*weighed, *further}), settings=bounds)
        except (ArithmeticError, np.linalg.LinAlgError) as error:
            # A fit that breaks down numerically is a fit that failed, and no reason to have no answer.
            reason = f"the fit broke down ({error}): check the cell, or measure a longer range."
            evidence = Evidence(status="not fitted", reason=reason)
        return evidence, evidence_posterior(evidence, self.settings, carried)

    def _jointly(self, evidence: Evidence, cell: Cell | None) -> bool:
        """Whether network and fit are weighed jointly (`joint`), not multiplied."""
        return self.settings.fusion != "product" and cell is not None and joint.can_weigh(evidence)

    def _fused(
        self,
        network: Posterior,
        evidence: Evidence,
        alone: npt.NDArray[np.float64] | None,
        cell: Cell | None,
        known: npt.NDArray[np.float64] | None,
        composition: Composition | None,
    ) -> npt.NDArray[np.float64]:
        """The answer with the given cell: weighed jointly, or the plain product where that is all there is.

        known: [99] nats of the library's expert. composition: as it was told.
        """
        constants = self.settings
        if cell is None or not self._jointly(evidence, cell):
            return fuse(network.log_probability, alone, constants, known)
        believed = None if network.contradicts else composition
        carried = groups_of_cell(cell)
        both = joint.weigh(network.log_probability, network.log_prior, evidence, carried, believed)
        return both if known is None else normalise(both + constants.library_weight * known)

    def _candidates(
        self, log_probability: npt.NDArray[np.float64], carried: frozenset[int]
    ) -> list[int] | None:
        """Groups for the verifier: None for all of the lattice, or the branch of what is probable before."""
        if self.settings.candidates == "lattice":
            return None
        near = branch_of_set(prediction_set(log_probability, self.settings.coverage)) & carried
        return sorted(near) or None

    def _provenance(self, uid: str, source: Source, cell: Cell | None) -> Provenance:
        return Provenance(
            pattern_uid=uid,
            source=source,
            version=__version__,
            checkpoint=self.classifier.checkpoint_hash,
            prior=self.classifier.prior,
            cell=cell,
            settings=asdict(self.settings),
            library="" if self.library is None else self.library.hash,
        )


def rows(
    log_probability: npt.NDArray[np.float64], count: int, evidence: Evidence | None = None
) -> tuple[GroupProbability, ...]:
    """The `count` most probable groups of a posterior [99], with the space groups inside each.

    evidence: gives the axes that the space groups of the first few are written in, too.
    """
    symbols = {} if evidence is None else {c.group: c.symbol for c in reversed(evidence.candidates)}
    listed = []
    for place, index in enumerate(ranking(log_probability)[:count]):
        of = group(int(index) + 1)
        written = place < IN_AXES and of.number in symbols
        listed.append(
            GroupProbability(
                group=of.number,
                symbol=of.symbol,
                crystal_system=of.crystal_system,
                probability=float(np.exp(log_probability[index])),
                space_groups=space_group_symbols(of.number),
                settings=in_axes(of.number, symbols[of.number]) if written else (),
            )
        )
    return tuple(listed)


def refused(reason: str, provenance: Provenance) -> Identification:
    """The answer where there can be none."""
    return Identification(verdict="refused", reason=reason, provenance=provenance)
