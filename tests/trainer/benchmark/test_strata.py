"""Strata: what is counted where, at the edges too, and files of unseen rows that are none."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eg_agent.errors import BadInput
from trainer.benchmark import Folder
from trainer.benchmark.strata import (
    LINE_EDGES,
    NAMES,
    SIGNAL_EDGES,
    _bin,
    novelty_stratum,
    strata_of,
    unseen_ids,
)


def test_every_stratum_of_a_folder(tiny_folder: Path) -> None:
    folder = Folder(tiny_folder)
    cases = folder.cases("benchmark")
    found = strata_of(folder, cases, NAMES)
    assert set(found) == set(NAMES)
    assert all(len(values) == len(cases) for values in found.values())
    assert found["system"] == [case.crystal_system for case in cases]
    assert found["half"] == ["B" if zlib.crc32(case.compound.encode()) % 2 else "A" for case in cases]
    # 300 counts in the highest line have noise of 1/17 of it, 5000 of 1/70: never the other way round
    order = ["below 30 times the noise", "30 to 100 times the noise", "100 to 300 times the noise",
             "300 times the noise and more"]  # fmt: skip
    rank = {case.id: order.index(value) for case, value in zip(cases, found["signal"], strict=True)}
    for compound in {case.compound for case in cases}:
        assert rank[f"{compound}_0"] <= rank[f"{compound}_1"] <= rank[f"{compound}_2"]
    assert len(set(rank.values())) > 1


def test_halite_has_fewer_lines_than_calcite(tiny_folder: Path) -> None:
    # gemmi: 9 lines of halite and some 40 of calcite between 10 and 80 degrees of Cu K-alpha
    folder = Folder(tiny_folder)
    cases = folder.cases("benchmark")
    lines = dict(zip((c.id for c in cases), strata_of(folder, cases, ["lines"])["lines"], strict=True))
    assert lines["halite_2"] == "below 15 lines"
    assert lines["calcite_2"] != "below 15 lines"


@given(
    value=st.floats(0, 1e4, allow_nan=False) | st.sampled_from([*LINE_EDGES, *SIGNAL_EDGES]),
    edges=st.sampled_from([LINE_EDGES, SIGNAL_EDGES]),
)
def test_a_value_lies_in_the_bin_that_is_named(value: float, edges: tuple[float, ...]) -> None:
    name = _bin(value, edges, "lines")
    if name.startswith("below"):
        assert value < float(name.split()[1])
    elif name.endswith("and more"):
        assert value >= float(name.split()[0])
    else:
        low, _, high, _ = name.split()
        assert float(low) <= value < float(high)


def test_what_cannot_be_measured_is_a_stratum_of_its_own() -> None:
    assert _bin(math.nan, SIGNAL_EDGES, "times the noise") == "not measurable"
    assert _bin(math.inf, SIGNAL_EDGES, "times the noise") == "300 times the noise and more"


def test_an_unknown_stratum_names_the_known_ones(tiny_folder: Path) -> None:
    folder = Folder(tiny_folder)
    with pytest.raises(BadInput, match="colour is not known: give one of system, half, lines, signal"):
        strata_of(folder, folder.cases("benchmark"), ["system", "colour"])


@pytest.mark.parametrize("content", [["halite_0"], {"unseen": ["halite_0"], "rule": "by formula"}])
def test_seen_and_unseen(tiny_folder: Path, tmp_path: Path, content: object) -> None:
    path = tmp_path / "unseen.json"
    path.write_text(json.dumps(content))
    cases = Folder(tiny_folder).cases("benchmark")
    found = novelty_stratum(path, cases)
    assert [c.id for c, value in zip(cases, found, strict=True) if value == "unseen"] == ["halite_0"]
    assert set(found) == {"seen", "unseen"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("{", "is not JSON"),
        ('{"seen": []}', "holds no list of ids"),
        ("[1, 2]", "holds no list of ids"),
        ('["of another folder"]', "names none of these rows"),
    ],
)
def test_a_bad_file_of_unseen_rows(
    tiny_folder: Path, tmp_path: Path, content: str | None, message: str
) -> None:
    path = tmp_path / "unseen.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BadInput, match=message):
        novelty_stratum(path, Folder(tiny_folder).cases("benchmark"))


def test_no_unseen_row_is_no_error(tiny_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "unseen.json"
    path.write_text("[]")
    assert unseen_ids(path) == frozenset()
    assert set(novelty_stratum(path, Folder(tiny_folder).cases("benchmark"))) == {"seen"}
