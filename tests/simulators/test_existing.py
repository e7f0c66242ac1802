"""How likely structures were made: what tables say, and what follows for those of which they say nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eg_agent.errors import BadInput
from simulators.existing import Made, chances, unlisted_chance

#: Rock salt: (formula, what the table says of `theoretical`).
COMPUTED = [("NaCl", False), ("KCl", False), ("LiF", None), ("Nd3Pm", None), ("Rb2Cl2", None), ("CsF", None)]
#: Formula and space group of the index: KCl and LiF are listed (RbCl in another group alone).
LISTED = [("ClK", 225), ("Li2F2", 225), ("RbCl", 221), ("x?", 225)]


def _table(folder: Path, rows: list[tuple[str, bool | None]], *, says: bool = True) -> None:
    count = len(rows)
    columns = {
        "id": [f"mp-{i}" for i in range(count)],
        "formula": [formula for formula, _ in rows],
        "hall_number": [523] * count,
        "spacegroup_number": [225] * count,
        "conv_lattice": [[5.6, 5.6, 5.6, 90.0, 90.0, 90.0]] * count,
        "asym_species": [[11, 17]] * count,
        "asym_frac": [[0.0, 0.0, 0.0, 0.5, 0.5, 0.5]] * count,
    }
    if says:
        columns["theoretical"] = [theoretical for _, theoretical in rows]
    parquet.write_table(pa.table(columns), folder / "materials_project.parquet")


def _index(folder: Path, entries: list[tuple[str, int]]) -> None:
    columns = {"formula": [formula for formula, _ in entries], "sg": [number for _, number in entries]}
    parquet.write_table(pa.table(columns), folder / "cod_inorganic_index.parquet")


def test_what_is_known_to_be_made_or_listed_is_certain_and_the_rest_has_one_chance(tmp_path: Path) -> None:
    _table(tmp_path, COMPUTED)
    _index(tmp_path, LISTED)
    (tmp_path / "own.cif").write_text("")
    found = chances(tmp_path)
    # one of two that were made is listed, so that one listed of four others means two made of four: one of
    # the three that are left
    np.testing.assert_allclose(found, [1.0, 1.0, 1.0, 1 / 3, 1 / 3, 1 / 3, 1.0])
    made = Made.of(tmp_path)
    assert made.chance("mp-3") == pytest.approx(1 / 3)
    assert made.chance("quartz") == 1.0
    assert made("mp-0")
    assert made("quartz")


@pytest.mark.parametrize("missing", ["index", "column", "those made", "those not"])
def test_without_a_word_of_what_was_made_all_count_alike(tmp_path: Path, missing: str) -> None:
    rows = {"those made": [(f, None) for f, _ in COMPUTED], "those not": [(f, False) for f, _ in COMPUTED]}
    _table(tmp_path, rows.get(missing, COMPUTED), says=missing != "column")
    if missing != "index":
        _index(tmp_path, LISTED)
    np.testing.assert_array_equal(chances(tmp_path), np.ones(6))


def test_a_folder_without_structures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no structures"):
        chances(tmp_path)


@given(share=st.floats(0.05, 0.95), coverage=st.floats(0.2, 0.9), seed=st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_the_chance_is_what_it_is_in_a_world_that_is_known(share: float, coverage: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = 400_000
    exists = rng.random(count) < share
    listed = exists & (rng.random(count) < coverage)
    said = exists & (rng.random(count) < 0.3)
    true = exists[~said & ~listed].mean()
    assert unlisted_chance(said, listed) == pytest.approx(true, abs=0.05)


def test_names_are_taken_as_often_as_their_chance_and_always_alike() -> None:
    made = Made({f"mp-{i}": 0.2 for i in range(5000)})
    taken = [made(f"mp-{i}") for i in range(5000)]
    assert np.mean(taken) == pytest.approx(0.2, abs=0.02)
    assert taken == [made(f"mp-{i}") for i in range(5000)]
