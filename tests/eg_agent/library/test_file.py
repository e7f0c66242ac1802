"""A library file comes back as it was written; anything else is one clear error."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from eg_agent.errors import BadInput
from eg_agent.library import Entries, Library
from eg_agent.library import file as storage


@pytest.fixture
def path(library: Library, tmp_path: Path) -> Path:
    library.save(tmp_path / "library.npz")
    return tmp_path / "library.npz"


def test_round_trip(library: Library, path: Path) -> None:
    again = Library.load(path)
    for field in fields(Entries):
        np.testing.assert_array_equal(
            getattr(again.entries, field.name), getattr(library.entries, field.name)
        )
    assert again.hash == library.hash
    assert again.ids == library.ids
    assert again.formulas == library.formulas
    assert again.name == "library.npz"
    assert list(path.parent.iterdir()) == [path]  # no temporary file is left


def test_nothing_is_pickled(path: Path) -> None:
    with np.load(path, allow_pickle=False) as data:
        assert all(data[name].dtype != object for name in data.files)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="eg-train library"):
        Library.load(tmp_path / "none.npz")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(path: Path, share: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(BadInput, match=r"not a library|damaged"):
        Library.load(path)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.npz"
    np.savez(foreign, a=np.arange(3))
    with pytest.raises(BadInput, match="not a library"):
        Library.load(foreign)
    np.save(tmp_path / "array.npy", np.arange(3))
    with pytest.raises(BadInput, match="not a library"):
        Library.load(tmp_path / "array.npy")
    foreign.write_text("data_quartz\n_cell_length_a 4.913\n")
    with pytest.raises(BadInput, match="not a library"):
        Library.load(foreign)


def test_a_newer_format_asks_for_an_update(library: Library, path: Path, monkeypatch) -> None:
    monkeypatch.setattr(storage, "VERSION", 2)
    library.save(path)
    monkeypatch.undo()
    with pytest.raises(BadInput, match="update eg-agent"):
        Library.load(path)


def _damaged(entries: Entries, name: str) -> Entries:
    array = getattr(entries, name).copy()
    if name == "offset":
        array[3] = array[-1] + 5
    elif name == "group":
        array[0] = 100
    elif name == "cell":
        array[0, 0] = np.nan
    elif name == "kinds":
        array[0, 0] = 9
    elif name.endswith("text"):
        array = array[:-1]
    else:
        array = array[:-2]
    return replace(entries, **{name: array})


@pytest.mark.parametrize("name", [field.name for field in fields(Entries)])
def test_arrays_that_do_not_fit_together_are_refused(library: Library, tmp_path: Path, name: str) -> None:
    storage.write(tmp_path / "bad.npz", _damaged(library.entries, name))
    with pytest.raises(BadInput, match="damaged"):
        Library.load(tmp_path / "bad.npz")


def test_a_failed_write_leaves_the_old_file(library: Library, path: Path, monkeypatch) -> None:
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.np, "savez", full)
    with pytest.raises(BadInput, match="No space left"):
        library.save(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
