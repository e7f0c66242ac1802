"""What became of a shift, counted from Tiled and from the ledger of an agent, and what must hold of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from facility import AgentProcess, Facility, wait_for

#: An identifier that takes no time, so that the loop alone is tested and timed.
FAST = "beamline:FastIdentifier"

#: The same, never sure: it goes on until the repeats are used up, so a shift's length is known beforehand.
ENDLESS = "patient:Patient"


@dataclass
class Account:
    """What became of a shift, counted from Tiled and from the ledger."""

    runs: list[dict[str, Any]]
    rows: list[dict[str, Any]]

    @property
    def successes(self) -> Counter[str]:
        """Successful runs by decision."""
        return Counter(
            doc["start"].get("eg_decision_id", "")
            for doc in self.runs
            if (doc.get("stop") or {}).get("exit_status") == "success"
        )

    @property
    def decided(self) -> list[dict[str, Any]]:
        """Decisions of the ledger."""
        return [row["decision"] for row in self.rows if row["kind"] == "decision"]

    @property
    def answered(self) -> Counter[str]:
        """How often each run was answered."""
        return Counter(uid for row in self.rows if row["kind"] == "decision" for uid in row["new_runs"])

    def gaps(self) -> list[float]:
        """Seconds from each run's stop to the next one's start."""
        ordered = [doc for doc in self.runs if doc.get("stop")]
        return [
            b["start"]["time"] - a["stop"]["time"]
            for a, b in pairwise(ordered)
            if b["start"]["time"] >= a["stop"]["time"]
        ]


def account(facility: Facility, agent: AgentProcess, name: str) -> Account:
    """What became of one shift."""
    return Account([doc for doc in facility.runs() if doc["start"].get("eg_shift") == name], agent.rows())


def finish(agent: AgentProcess, seconds: float) -> dict:
    """Wait until the shift is finished; the last word of its health."""

    def done() -> bool:
        health = agent.health()
        assert not health["held"], health
        return bool(health["finished"])

    try:
        wait_for("the shift", done, seconds)
    except TimeoutError as error:
        raise AssertionError(f"{error}: {agent.health()}\n{agent.tail()}") from None
    return agent.health()


def assert_each_decision_had_its_run(found: Account) -> None:
    """Every decision that leads to a measurement: exactly one successful run; no run without a decision."""
    leads_on = [
        work["decision_id"]
        for work in found.decided
        if not any(
            row["kind"] == "outcome"
            and row["decision_id"] == work["decision_id"]
            and (row["reason"].startswith("nothing is left") or row["status"] in ("refused", "expired"))
            for row in found.rows
        )
    ]
    assert set(found.successes) == {f"first-{found.runs[0]['start']['eg_shift']}", *leads_on}
    assert set(found.successes.values()) == {1}
    assert set(found.answered.values()) == {1}


def assert_nothing_twice_and_nothing_lost(found: Account) -> None:
    """At most one successful run a decision, every decision ended, every successful run answered once."""
    assert set(found.successes.values()) == {1}, found.successes
    assert set(found.answered.values()) == {1}
    decided = {work["decision_id"] for work in found.decided}
    ended = {
        row["decision_id"]
        for row in found.rows
        if row["kind"] == "outcome" and row["status"] in ("done", "refused", "expired")
    }
    assert decided <= ended, f"lost: {decided - ended}"
    successful = {
        d["start"]["uid"] for d in found.runs if (d.get("stop") or {}).get("exit_status") == "success"
    }
    assert successful == set(found.answered), "a successful run was not answered"
