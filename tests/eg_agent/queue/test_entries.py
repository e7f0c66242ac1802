"""Identifications written into a real Tiled: found by a query, whole, once, and none lost in an outage."""

from __future__ import annotations

import secrets
import shutil
import time
from pathlib import Path
from urllib.parse import unquote, urlparse

import numpy as np
import pytest
from beamline import FastIdentifier
from made import decision, row
from tiled.client import from_uri
from tiled.queries import Comparison, Key, SpecsQuery

from eg_agent.patterns import Pattern, Radiation
from eg_agent.queue.entries import Entries
from eg_agent.records import EmbeddedTiled, Ledger
from eg_agent.records.identifications import SPEC, Identifications, NotWritten, arrays_of, metadata_of
from eg_agent.records.runs import TiledAway


@pytest.fixture
def path() -> str:
    """A container of its own for each test: all use the same server."""
    return f"identifications-{secrets.token_hex(4)}"


@pytest.fixture
def answered(settings):
    """A row that the agent would write: `counts` in the strongest point decide the verdict."""

    def make(ident: str, counts: float = 4.0, **changes):
        axis = np.arange(10.0, 60.0, 0.1)
        intensity = np.ones(axis.size)
        intensity[100] = counts
        pattern = Pattern(
            axis, intensity, Radiation(1.5406), counting_time=np.ones(axis.size), raw_counts=True
        )
        found = FastIdentifier().identify(pattern, (4.0, 4.0, 4.0, 90.0, 90.0, 90.0))
        return row(
            decision(ident),
            settings,
            **{"identification": found, "runs": ("run-0", f"run-{ident}"), "time": time.time(), **changes},
        )

    return make


def test_an_entry_is_found_by_what_was_found_and_holds_the_posteriors(tiled_uri, path, answered):
    entries = Identifications(tiled_uri, path)
    now = time.time()
    entries.put(answered("sure", 10_000.0, time=now))
    entries.put(answered("unsure", time=now - 86_400))
    entries.put(answered("old", time=now - 8 * 86_400))
    found = from_uri(tiled_uri)[path]
    undecided = found.search(Key("verdict") == "undecided").search(Comparison("ge", "time", now - 7 * 86_400))
    assert list(undecided) == ["unsure"]
    entry = undecided["unsure"]
    assert entry.metadata["run"] == "run-unsure"
    assert entry.metadata["runs"] == ["run-0", "run-unsure"]
    assert entry.metadata["cell"] == [4.0, 4.0, 4.0, 90.0, 90.0, 90.0]
    assert entry.metadata["would_settle"][0]["two_theta"] == [31.0, 33.0]
    assert {spec.name for spec in entry.specs} == {SPEC}
    posterior = entry["log_probability"].read()
    assert posterior.shape == (99,)
    assert np.exp(posterior).sum() == pytest.approx(1.0)
    assert entry.metadata["probability"] == pytest.approx(np.exp(posterior).max(), abs=0.01)
    assert list(found.search(Key("symbol") == "P - - -").search(Key("verdict") == "identified")) == ["sure"]


def test_twice_is_once_and_what_a_crash_left_is_finished(tiled_uri, path, answered):
    whole, cut = answered("whole"), answered("cut")
    entries = Identifications(tiled_uri, path)
    entries.put(whole)
    catalog = from_uri(tiled_uri)[path]
    # Killed between two requests: the entry is there with one array of two, and without its specification.
    begun = catalog.create_container("cut", metadata=metadata_of(cut))
    begun.write_array(np.zeros(99), key="evidence_only")
    assert list(catalog.search(SpecsQuery(include=[SPEC]))) == ["whole"]
    again = Identifications(tiled_uri, path)  # another process
    again.put(whole)
    again.put(cut)
    assert sorted(catalog) == ["cut", "whole"]
    for made in (whole, cut):
        entry = catalog[made.decision.decision_id]
        assert {spec.name for spec in entry.specs} == {SPEC}
        for name, values in arrays_of(made).items():
            np.testing.assert_array_equal(entry[name].read(), values)


def test_an_array_that_a_killed_server_left_on_its_disk_does_not_keep_an_entry_out(tiled_uri, path, answered):
    """Killed between an array's file and its row in the catalog, Tiled answers 500 to it for good."""
    entries = Identifications(tiled_uri, path)
    entries.put(answered("whole"))
    catalog = from_uri(tiled_uri, include_data_sources=True)[path]
    source = catalog["whole"]["log_probability"].data_sources()[0].assets[0].data_uri
    folder = Path(unquote(urlparse(source).path))
    assert folder.is_dir()
    shutil.copytree(folder, folder.parents[1] / "cut" / "log_probability")
    for _ in range(2):  # twice is once
        assert Identifications(tiled_uri, path).put(answered("cut")) == "cut"
    found = catalog.search(SpecsQuery(include=[SPEC])).search(Key("decision_id") == "cut")
    assert list(found) == ["cut-2"]
    assert set(found["cut-2"]) == set(arrays_of(answered("cut")))


def test_a_path_from_the_root_and_one_that_is_taken(tiled_uri, path, answered):
    Identifications(tiled_uri, f"/{path}/of/agents").put(answered("deep"))
    assert list(from_uri(tiled_uri)[path, "of", "agents"]) == ["deep"]
    from_uri(tiled_uri).write_array(np.zeros(3), key=f"{path}-array")
    with pytest.raises(NotWritten, match="no container"):
        Identifications(tiled_uri, f"{path}-array").put(answered("no"))


def test_a_key_that_may_not_write_is_told_what_it_lacks(tiled_uri, path, answered):
    with pytest.raises((NotWritten, TiledAway)) as refused:
        Identifications(f"{tiled_uri.partition('?')[0]}?api_key=hidden", path).put(answered("no"))
    assert "hidden" not in str(refused.value)


def test_a_ledger_is_written_in_the_background_and_after_a_restart_goes_on(
    tiled_uri, path, answered, settings, tmp_path
):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append(answered("one"))
    ledger.append(row(decision("nothing"), settings))  # no identification, no entry
    entries = Entries(ledger.path, Identifications(tiled_uri, path))
    entries.wake()
    assert entries.wait(200.0)
    ledger.append(answered("two"))
    entries.wake()
    assert entries.wait(200.0)
    entries.close()
    ledger.append(answered("three"))
    again = Entries(ledger.path, Identifications(tiled_uri, path))
    again.wake()
    assert again.wait(200.0)
    again.close()
    assert (entries.written, again.written) == (2, 1)
    assert sorted(from_uri(tiled_uri)[path]) == ["one", "three", "two"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_an_outage_is_told_and_made_up_for(path, answered, tmp_path):
    """Tiled is killed with entries to come; they are there when it is back, and nobody waited for them."""
    server = EmbeddedTiled(tmp_path / "tiled", start_timeout=400.0)
    uri = server.start()
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append(answered("before"))
    entries = Entries(ledger.path, Identifications(uri, path))
    entries.wake()
    assert entries.wait(200.0)
    server.kill()
    ledger.append(answered("during"))
    entries.wake()
    deadline = time.monotonic() + 300.0
    while not entries.problem and time.monotonic() < deadline:
        time.sleep(0.1)
    assert entries.problem
    assert uri.partition("api_key=")[2] not in entries.problem
    port = int(uri.partition("127.0.0.1:")[2].partition("/")[0])
    again = EmbeddedTiled(
        tmp_path / "tiled", port=port, api_key=uri.partition("api_key=")[2], start_timeout=400.0
    )
    again.start()
    try:
        assert entries.wait(600.0)
        assert sorted(from_uri(uri)[path]) == ["before", "during"]
        assert entries.problem == ""
    finally:
        entries.close()
        again.close()
