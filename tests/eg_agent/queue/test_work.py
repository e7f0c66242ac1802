"""Folding a ledger into work, and decisions into queue items; the guard of the worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from made import decision, row

from eg_agent.decide import Decision
from eg_agent.errors import BadInput
from eg_agent.queue.items import first_scan, item_for, to_measure, with_attempt
from eg_agent.queue.manager import attempt_of, decision_of
from eg_agent.queue.once import CarriedOut, Once
from eg_agent.queue.settings import RunSettings, read_settings
from eg_agent.queue.work import EDITED, SUBMITTED, SUBMITTING, WorkBook, first_note, submission
from eg_agent.records import Journal, NoteRow, OutcomeRow
from eg_agent.values import to_json


def test_a_book_says_what_is_open_and_which_attempt_is_due(settings):
    book = WorkBook("night")
    book.take(row(decision("d1", mode="act"), settings))
    book.take(NoteRow(SUBMITTING, submission("d1", 1)))
    (work,) = book.open()
    assert (work.submitting, work.item, work.next_attempt) == (True, "", 1)
    book.take(NoteRow(SUBMITTED, submission("d1", 1, "item-1")))
    book.take(OutcomeRow("d1", "started", 1, "run-1"))
    assert work.next_attempt == 1
    book.take(OutcomeRow("d1", "failed", 1, "run-1", "the shutter did not open"))
    assert (work.failures, work.next_attempt) == (1, 2)
    book.take(OutcomeRow("d1", "aborted", 2))
    assert (work.failures, work.next_attempt) == (1, 3)
    book.take(OutcomeRow("d1", "done", 3, "run-3"))
    assert book.open() == []
    assert book.answered == {"run-d1": "d1"}


def test_a_book_keeps_to_its_shift_and_to_what_is_acted_on(settings):
    book = WorkBook("night")
    book.take(row(decision("other"), settings, shift="day"))
    book.take(row(decision("said", mode="observe"), settings))
    book.take(first_note(Decision("first-night", "count longer", "First.", sample="a")))
    book.take(first_note(Decision("first-day", "count longer", "First.", sample="a")))
    assert [work.ident for work in book.open()] == ["first-night"]
    assert "run-other" in book.answered  # whoever answered it


def test_an_edit_is_taken_up_after_a_restart(settings):
    book = WorkBook("night")
    book.take(row(decision("d1"), settings))
    edited = decision("d1", seconds_per_point=2.0)
    book.take(NoteRow(EDITED, to_json(edited)))
    book.take(OutcomeRow("d1", "accepted"))
    (work,) = book.open()
    assert work.phase == "accepted"
    assert work.decision.seconds_per_point == 2.0


def test_items_carry_the_decision_in_their_metadata(settings):
    item = item_for(settings, decision("d1"), 2, first=False)
    assert (decision_of(item), attempt_of(item)) == ("d1", 2)
    assert item["meta"]["eg_samples_left"] == 1
    assert item["kwargs"]["two_theta"] == [10.0, 21.0]
    assert item["kwargs"]["windows"] == [[20.0, 21.0]]
    again = with_attempt({**item, "item_uid": "u", "result": {"exit_status": "failed"}}, 3)
    assert (decision_of(again), attempt_of(again), again["item_uid"]) == ("d1", 3, "u")
    assert again["kwargs"]["md"]["eg_attempt"] == 3
    assert "result" not in again


def test_windows_below_the_first_scan_keep_its_grid_inside_the_limits(settings):
    item = item_for(settings, decision("d1", windows=((5.02, 6.0),)), 1, first=False)
    low, _ = item["kwargs"]["two_theta"]
    assert low >= settings.limits.two_theta[0]
    assert round((10.0 - low) / 0.1, 6) == pytest.approx(round((10.0 - low) / 0.1))


def test_what_ends_a_sample_becomes_the_first_scan_of_the_next(settings):
    ending = decision("d1", action="next sample", windows=(), seconds_per_point=None)
    scan = to_measure(settings, ending)
    assert scan is not None
    assert (scan.decision_id, scan.sample, scan.windows) == ("d1", "b", ((10.0, 60.0),))
    assert to_measure(settings, decision("d2", action="next sample", sample="b", windows=())) is None
    assert to_measure(settings, decision("d3", action="stop", windows=())) is None
    assert to_measure(settings, decision("d4", action="next sample", sample="another's", windows=())) is None
    assert first_scan(settings, "a", "f").seconds_per_point == settings.shift.seconds_per_point


def write_run(journal: Journal, uid: str, ident: str, status: str | None) -> None:
    journal.append("start", {"uid": uid, "time": 1.0, "eg_decision_id": ident})
    journal.append("descriptor", {"uid": f"{uid}-d", "run_start": uid, "data_keys": {}, "name": "primary"})
    if status:
        journal.append("stop", {"uid": f"{uid}-s", "run_start": uid, "exit_status": status, "time": 2.0})


def test_the_guard_knows_from_the_journal_what_was_carried_out(tmp_path):
    journal = Journal(tmp_path)
    write_run(journal, "r1", "good", "success")
    write_run(journal, "r2", "failed", "fail")
    write_run(journal, "r3", "killed", None)
    journal.close()
    once = Once(Journal(tmp_path))
    assert [once.done(i) for i in ("good", "failed", "killed", "new", "")] == ["r1", "", "", "", ""]
    measured = []

    def plan():
        measured.append(1)
        yield "message"
        return "uid"

    assert list(once.plan({"eg_decision_id": "good"}, plan())) == []
    assert list(once.plan({"eg_decision_id": "new"}, plan())) == ["message"]
    assert list(once.plan({}, plan())) == ["message"]
    assert measured == [1, 1]
    with pytest.raises(CarriedOut, match="r1"):
        once.validate({"eg_decision_id": "good"})
    once.validate({"eg_decision_id": "failed"})


def test_the_guard_asks_elsewhere_and_goes_on_when_nobody_answers(tmp_path):
    once = Once(Journal(tmp_path), known=lambda ident: "elsewhere" if ident == "d1" else 1 / 0)
    assert once.done("d1") == "elsewhere"
    assert once.done("d2") == ""


def test_the_guard_survives_a_kill_at_any_document(tmp_path):
    """A process that journals runs is killed; whatever it had closed is never measured again."""
    code = """
import sys, time
from eg_agent.records import Journal
j = Journal(sys.argv[1], fsync="document")
for i in range(100000):
    j.append("start", {"uid": f"r{i}", "time": 1.0, "eg_decision_id": f"d{i}"})
    j.append("stop", {"uid": f"s{i}", "run_start": f"r{i}", "exit_status": "success", "time": 2.0})
    print(i, flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    seen = [int(process.stdout.readline()) for _ in range(30)]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    seen += [int(line) for line in process.stdout.read().splitlines() if line.isdigit()][:-1]
    process.stdout.close()
    once = Once(Journal(tmp_path))
    assert all(once.done(f"d{i}") == f"r{i}" for i in seen)


def test_a_shift_file_is_checked_whole(tmp_path):
    path = tmp_path / "shift.toml"
    path.write_text('[shift]\nname = "n"\nsamples = ["a"]\n[limits]\ntwo_theta = [5.0, 60.0]\n')
    told = read_settings(path)
    assert isinstance(told, RunSettings)
    assert told.policy.limits.two_theta == (5.0, 60.0)
    for text, said in (
        ('[shift]\nname = "n"\nsampels = ["a"]\n', "sampels"),
        ('[shift]\nname = "n"\nsamples = ["a", "a"]\n', "twice"),
        ('[shift]\nname = "n"\n[queue]\nposition = "middle"\n', "position"),
        ("[shift\n", "TOML"),
        ("[limits]\ntwo_theta = [5.0, 60.0]\n", "shift"),
    ):
        path.write_text(text)
        with pytest.raises(BadInput, match=said):
            read_settings(path)
    with pytest.raises(BadInput, match="cannot be read"):
        read_settings(tmp_path / "none.toml")


def test_the_guard_does_not_wait_for_a_tiled_that_hangs(tmp_path):
    import threading

    never = threading.Event()
    once = Once(Journal(tmp_path), known=lambda ident: str(never.wait(60)), patience=0.1)
    assert once.done("d1") == ""
    never.set()


def test_a_run_names_an_action_that_the_plans_let_through(settings):
    """Plans check `eg_action` against the limits; the first scan of a next sample is of that action."""
    scan = to_measure(settings, decision("d1", action="next sample", windows=()))
    item = item_for(settings, scan, 1, first=True, action="next sample")
    assert item["meta"]["eg_action"] in settings.limits.actions
    assert item["kwargs"]["windows"] == []
