"""What a shift is told: samples, limits, and how to behave on the queue. One TOML file, checked whole."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from eg_agent.chemistry import Composition
from eg_agent.decide.limits import Costs, Limits
from eg_agent.decide.settings import DecideSettings
from eg_agent.errors import BadInput
from eg_agent.records.ledger import Policy
from eg_agent.values import VALUE_CONFIG

Cell = tuple[float, float, float, float, float, float]
Then = Literal["next sample", "hold"]


@dataclass(frozen=True, slots=True)
class ShiftSettings:
    """What is measured.

    name: `eg_shift` in the metadata of every run; one shift a name, taken up again after a restart.
    samples: names in the changer, in order; empty when others queue the first scans and the agent only
        adds what it decides. two_theta: (low, high) in degrees of the first scan; step: degrees;
        seconds_per_point: seconds, of the first scan. cells: a, b, c (angstrom), alpha, beta, gamma
        (degrees) by sample, where known. compositions, elements: formula (Ca3Al2Si3O12), or elements alone
        (Ca,Al,Si,O), by sample, where known; a run's own metadata goes first.
    answer: "shift" for runs of this shift only, "all" for every powder pattern in the catalog.
    identifications: container of the catalog that every identification is written to as an entry of its own
        (from the server's root where it begins with "/"); "" for none.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    name: str
    samples: tuple[str, ...] = ()
    two_theta: tuple[float, float] | None = None
    step: float = 0.02
    seconds_per_point: float = 1.0
    cells: dict[str, Cell] = field(default_factory=dict)
    compositions: dict[str, str] = field(default_factory=dict)
    elements: dict[str, str] = field(default_factory=dict)
    answer: Literal["shift", "all"] = "shift"
    identifications: str = "identifications"

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise BadInput("the shift has no name: give [shift] name, as for a folder.")
        if len(set(self.samples)) != len(self.samples):
            raise BadInput("a sample's name stands twice in [shift] samples: names must differ.")
        if not self.step > 0.0 or not self.seconds_per_point > 0.0:
            raise BadInput("[shift] step and seconds_per_point must be above 0.")
        self.chemistries()

    def chemistries(self) -> dict[str, Composition]:
        """What is known of the samples' chemistry; BadInput for what names none."""
        twice = sorted(set(self.compositions) & set(self.elements))
        if twice:
            raise BadInput(f"{twice[0]!r} has a composition and elements: a composition names its elements.")
        found: dict[str, Composition] = {}
        for table, read in (
            (self.compositions, Composition.of_formula),
            (self.elements, Composition.of_elements),
        ):
            for sample, text in table.items():
                try:
                    found[sample] = read(text)
                except BadInput as error:
                    raise BadInput(f"chemistry of {sample!r}: {error}") from None
        return found


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """How items get into the queue.

    plan: the plan that measures; see examples/queueserver. position: of our items among others'.
    start: "own" starts an idle queue when its first item is ours, "always" whatever is first, "never"
        leaves it to a person or to autostart. A queue that a person stopped stays stopped.
    environment: "wait" for a person to open it; "open" it when it is closed; "recover" also destroys
        it when its worker is dead (`dead_after` seconds without an answer), or when the manager waits so
        long for a plan that an idle worker has ended; unattended shifts need it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    plan: str = "eg_measure"
    position: Literal["front", "back"] = "back"
    start: Literal["own", "always", "never"] = "own"
    environment: Literal["wait", "open", "recover"] = "wait"
    dead_after: float = 15.0


@dataclass(frozen=True, slots=True)
class FailureSettings:
    """What happens when a measurement fails.

    retries: further attempts, each with the same decision id and the next `eg_attempt`.
    then: when they are used up: go on with the next sample, or hold for a person.
    restart: start the queue again, which the manager stops at every failure.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    retries: int = 1
    then: Then = "next sample"
    restart: bool = True


@dataclass(frozen=True, slots=True)
class ApprovalSettings:
    """Mode "propose": expires: seconds that a person has; then: what a refusal or an expiry leads to."""

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    expires: float = 3600.0
    then: Then = "next sample"


@dataclass(frozen=True, slots=True)
class RunSettings:
    """The whole file. ask: what "ask a person" does: on with the next sample, or hold."""

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    shift: ShiftSettings
    queue: QueueSettings = field(default_factory=QueueSettings)
    failure: FailureSettings = field(default_factory=FailureSettings)
    approval: ApprovalSettings = field(default_factory=ApprovalSettings)
    limits: Limits = field(default_factory=Limits)
    decide: DecideSettings = field(default_factory=DecideSettings)
    costs: Costs = field(default_factory=Costs)
    ask: Then = "next sample"

    @property
    def policy(self) -> Policy:
        """What the decisions are made of."""
        return Policy(limits=self.limits, settings=self.decide, costs=self.costs)


def read_settings(path: Path) -> RunSettings:
    """Read a shift's TOML file. Raises BadInput that names the first wrong key."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}): give the shift's TOML file.") from None
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path} is no TOML: {error}.") from None
    try:
        return TypeAdapter(RunSettings).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BadInput(f"{path}: {where}: {first['msg']}.") from None
