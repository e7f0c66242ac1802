"""`eg-train simulate`: the same patterns on any number of workers, resumed, and its errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from eg_agent.errors import BadInput
from eg_agent.patterns import Grid
from eg_agent.symmetry import group_of_space_group
from simulators.corpus import Corpus
from simulators.stored import StoredBatch, read_manifest, shard_path, stored_patterns
from simulators.stream import PatternStream
from simulators.stream_config import stage2
from trainer.cli.main import app
from trainer.simulating import Request, simulate_to

GRID = Grid(5.0, 90.0, 512)


def request(corpus: Path, **changes) -> Request:
    return Request(**({"stage": "stage2", "count": 150, "seed": 5, "corpus": corpus, "grid": GRID} | changes))


def everything(folder: Path) -> StoredBatch:
    return next(iter(stored_patterns(folder, 10_000)))


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("patterns-*")}


def test_the_files_hold_what_the_stream_gives(tmp_path, corpus):
    simulate_to(tmp_path / "out", request(corpus))
    found = everything(tmp_path / "out")
    packed = Corpus.load(corpus)
    stream = PatternStream(packed, stage2(), 5, GRID)
    wanted = [stream.batch(0, 256)]
    for name, plus in (("intensity", 0), ("coverage", 0), ("structure", 0), ("group", 1)):
        expected = np.concatenate([getattr(b, name).numpy() for b in wanted])[:150]
        np.testing.assert_array_equal(getattr(found, name), expected + plus if plus else expected)
    np.testing.assert_array_equal(found.index, np.arange(150))
    np.testing.assert_array_equal(found.space_group, packed.space_group[found.structure])
    assert found.name[0] == packed.names[found.structure[0]]


@pytest.mark.slow
def test_files_do_not_depend_on_workers_or_on_interruptions(tmp_path, corpus):
    asked = request(corpus, shard_size=48)
    done = []
    manifest, made = simulate_to(tmp_path / "one", asked, progress=done.append)
    assert (manifest.shards, made, sum(done)) == (4, 150, 150)
    simulate_to(tmp_path / "two", replace(asked, workers=2))
    assert files(tmp_path / "one") == files(tmp_path / "two")

    before = files(tmp_path / "one")
    shard_path(tmp_path / "one", 1).unlink()
    broken = shard_path(tmp_path / "one", 2)
    broken.write_bytes(broken.read_bytes()[:100])
    done.clear()
    _, made = simulate_to(tmp_path / "one", asked, progress=done.append)
    assert (made, sum(done)) == (96, 150)
    assert files(tmp_path / "one") == before
    assert simulate_to(tmp_path / "one", asked)[1] == 0


def test_a_greater_count_adds_patterns(tmp_path, corpus):
    out = tmp_path / "out"
    simulate_to(out, request(corpus, count=70, shard_size=60))
    _, made = simulate_to(out, request(corpus, count=130, shard_size=60))
    assert made == 70  # the file that was short is made again
    assert read_manifest(out).count == 130
    simulate_to(tmp_path / "at once", request(corpus, count=130, shard_size=60))
    assert files(out) == files(tmp_path / "at once")
    with pytest.raises(BadInput, match="made for 130 patterns"):
        simulate_to(out, request(corpus, count=70, shard_size=60))


def test_a_folder_of_other_settings_is_refused_untouched(tmp_path, corpus):
    out = tmp_path / "out"
    simulate_to(out, request(corpus, count=10))
    before = {p: p.read_bytes() for p in out.iterdir()}
    for changes in ({"seed": 6}, {"stage": "stage1"}, {"split": "held_out"}, {"grid": Grid(5, 90, 600)}):
        with pytest.raises(BadInput, match="other settings"):
            simulate_to(out, request(corpus, **({"count": 10} | changes)))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(BadInput, match="other files"):
        simulate_to(tmp_path / "mine", request(corpus))
    with pytest.raises(BadInput, match="is a file"):
        simulate_to(tmp_path / "mine" / "thesis.tex", request(corpus))
    assert {p: p.read_bytes() for p in out.iterdir()} == before
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--count", "10"], "give --corpus FILE"),
        (["--count", "10", "--corpus", "none.npz"], "there is no corpus"),
        (["--count", "10", "--corpus", "CORPUS", "--stage", "stage9"], "unknown stage 'stage9'"),
        (["--count", "10", "--corpus", "CORPUS", "--start", "90", "--end", "5"], "two_theta_min"),
        (["--count", "10", "--corpus", "CORPUS", "--source", "random"], "takes no --corpus"),
        (["--count", "10", "--corpus", "CORPUS", "--seed", "-1"], "0 or more"),
        (["--count", "10", "--corpus", "CORPUS", "--device", "cuda", "--workers", "2"], "no accelerator"),
        (["--count", "10", "--corpus", "README"], "not a corpus"),
    ],
)
def test_bad_input_writes_nothing(tmp_path, corpus, arguments, message):
    (tmp_path / "README").write_text("no corpus")
    words = {"CORPUS": str(corpus), "README": str(tmp_path / "README")}
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["simulate", "--out", str(out), *(words.get(a, a) for a in arguments)])
    assert result.exit_code != 0
    assert isinstance(result.exception, BadInput)
    assert message in str(result.exception)
    assert not out.exists()


@pytest.mark.parametrize("option", ["--count", "--workers"])
def test_numbers_that_mean_nothing_are_wrong_usage(tmp_path, corpus, option):
    out = tmp_path / "out"
    arguments = ["simulate", "--out", str(out), "--corpus", str(corpus), "--count", "10", option, "0"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in result.output
    assert not out.exists()


def test_command_and_sheet(tmp_path, corpus):
    out = tmp_path / "out"
    arguments = ["simulate", "--out", str(out), "--count", "9", "--corpus", str(corpus), "--show"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "9 patterns of stage2 (9 made now) in 1 file," in result.output
    assert (out / "_contact-sheet.png").read_bytes().startswith(b"\x89PNG")
    assert not [p for p in out.iterdir() if "partial" in p.name or p.name.startswith(".")]
    again = CliRunner().invoke(app, arguments)
    assert "(0 made now)" in again.output
    assert str(tmp_path) not in (out / "_manifest.json").read_text()


def test_random_crystals_need_no_file(tmp_path):
    asked = Request(stage="stage1", count=40, seed=2, corpus=None, grid=GRID)
    simulate_to(tmp_path / "out", asked)
    found = everything(tmp_path / "out")
    assert len(np.unique(found.group)) > 20
    assert (found.structure == -1).all()
    assert set(found.name) == {None}
    np.testing.assert_array_equal(found.group, [group_of_space_group(int(s)) for s in found.space_group])
    assert read_manifest(tmp_path / "out").source["kind"] == "random"
    assert found.coverage.all()
    np.testing.assert_allclose(found.intensity.max(axis=1), 1.0)


@pytest.mark.parametrize("stage", ["texture", "beamline"])
def test_every_stage_by_the_command(tmp_path, corpus, stage):
    out = tmp_path / "out"
    arguments = [
        "--out",
        str(out),
        "--count",
        "6",
        "--stage",
        stage,
        "--corpus",
        str(corpus),
        "--points",
        "700",
    ]
    result = CliRunner().invoke(app, ["simulate", *arguments])
    assert result.exit_code == 0, result.output
    assert read_manifest(out).stage == stage
    assert everything(out).intensity.shape == (6, 700)
