from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import textwrap

import numpy as np
from event_model import compose_run

from eg_agent.records import Journal
from eg_agent.records.journal import encode


def run_documents(values, key="det"):
    run = compose_run(metadata={"sample": "quartz"})
    yield "start", run.start_doc
    shape = list(np.shape(values[0]))
    descriptor = run.compose_descriptor(
        name="primary",
        data_keys={key: {"source": "test", "dtype": "array" if shape else "number", "shape": shape}},
    )
    yield "descriptor", descriptor.descriptor_doc
    for value in values:
        yield "event", descriptor.compose_event(data={key: value}, timestamps={key: 0.0})
    yield "stop", run.compose_stop()


def test_documents_come_back_as_they_went_in(tmp_path):
    values = [np.array([1.5, -2.25, 1e-300]), np.array([math.pi, 0.0, 7.0])]
    documents = list(run_documents(values))
    journal = Journal(tmp_path)
    numbers = [journal.append(name, doc) for name, doc in documents]
    uid = documents[0][1]["uid"]
    assert [(run, n, on_disk) for run, n, on_disk in numbers] == [(uid, n, True) for n in range(5)]
    again = list(journal.documents(uid))
    assert [entry.name for entry in again] == ["start", "descriptor", "event", "event", "stop"]
    for entry, value in zip(again[2:4], values, strict=True):
        assert entry.doc["data"]["det"] == value.tolist()
    assert again[0].doc == json.loads(json.dumps(documents[0][1]))


def test_nan_and_infinity_are_kept(tmp_path):
    value = np.array([1.0, math.nan, math.inf])
    journal = Journal(tmp_path)
    documents = list(run_documents([value]))
    for name, doc in documents:
        journal.append(name, doc)
    (event,) = [e for e in journal.documents(documents[0][1]["uid"]) if e.name == "event"]
    np.testing.assert_array_equal(event.doc["data"]["det"], value)


def test_every_kind_of_value_can_be_written():
    data = {
        "i": np.int64(3),
        "f": np.float32(0.1),
        "b": np.bool_(True),
        "s": "text",
        "strided": np.arange(10)[::2],
        "big": np.zeros((2, 3), dtype=">f4"),
        "list": [1, 2.5],
        "nan": math.nan,
    }
    doc = json.loads(encode("event", {"data": data}, 7))
    assert doc["n"] == 7
    assert doc["doc"]["data"]["strided"] == [0, 2, 4, 6, 8]
    assert doc["doc"]["data"]["b"] is True
    assert math.isnan(doc["doc"]["data"]["nan"])
    assert np.float32(doc["doc"]["data"]["f"]) == np.float32(0.1)


def test_interleaved_runs_go_to_their_own_files(tmp_path):
    journal = Journal(tmp_path)
    first, second = list(run_documents([1.0, 2.0])), list(run_documents([3.0]))
    for name, doc in [*first[:3], *second[:3], *first[3:], *second[3:]]:
        journal.append(name, doc)
    for documents in (first, second):
        uid = documents[0][1]["uid"]
        assert [e.name for e in journal.documents(uid)] == [name for name, _ in documents]
    assert sorted(journal.runs()) == sorted([first[0][1]["uid"], second[0][1]["uid"]])


def test_a_line_cut_short_is_left_out_and_swallows_nothing(tmp_path):
    journal = Journal(tmp_path)
    documents = list(run_documents([1.0, 2.0]))
    uid = documents[0][1]["uid"]
    for name, doc in documents[:3]:
        journal.append(name, doc)
    whole = journal.path(uid).read_bytes()
    journal.path(uid).write_bytes(whole[:-20])
    assert [e.name for e in journal.documents(uid)] == ["start", "descriptor"]


def test_a_full_disk_is_said_and_later_documents_survive(tmp_path):
    """A file size limit is what a full disk looks like to a process: a real OSError in the middle."""
    script = textwrap.dedent(
        """
        import resource, signal, sys, json
        import numpy as np
        sys.path.insert(0, sys.argv[2])
        from test_journal import run_documents
        from eg_agent.records import Journal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        journal = Journal(sys.argv[1])
        documents = list(run_documents([np.zeros(20_000), np.ones(3), np.ones(3)]))
        said = []
        for i, (name, doc) in enumerate(documents):
            limit = 50_000 if i == 2 else resource.RLIM_INFINITY
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            said.append(journal.append(name, doc)[2])
        numbers = [e.n for e in journal.documents(documents[0][1]["uid"])]
        print(json.dumps([said, numbers, journal.last_error]))
        """
    )
    here = __file__.rpartition("/")[0]
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), here], capture_output=True, text=True, check=True
    )
    said, numbers, error = json.loads(done.stdout)
    assert said == [True, True, False, True, True, True]
    assert numbers == [0, 1, 3, 4, 5]
    assert "File too large" in error
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_index_remembers_the_last_state_of_each_run(tmp_path):
    journal = Journal(tmp_path)
    journal.mark("a", "wanted")
    journal.mark("b", "wanted")
    journal.mark("a", "begun", begun=True)
    journal.mark("b", "written", documents=5)
    assert list(Journal(tmp_path).marks()) == ["a", "b"]
    assert Journal(tmp_path).marks()["a"] == {"run": "a", "state": "begun", "begun": True}
    assert Journal(tmp_path).marks()["b"]["state"] == "written"


def test_sync_leaves_no_file_open(tmp_path):
    import os

    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    journal = Journal(tmp_path)
    for _ in range(20):
        for name, doc in run_documents([1.0]):
            journal.append(name, doc)
        journal.sync()
    journal.close()
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) <= before + 1


def test_a_disk_that_does_not_confirm_is_said(tmp_path, monkeypatch, caplog):
    """fsync is where a disk says that it lost what it had taken."""
    journal = Journal(tmp_path, fsync="background")
    journal.append("start", {"uid": "u", "time": 0.0})

    def lost(descriptor):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.fsync", lost)
    journal.sync()
    assert "Input/output error" in journal.last_error
    assert "does not confirm" in caplog.text
    journal.close()
