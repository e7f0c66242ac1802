"""Priors: shipped ones follow from published counts, files are checked."""

from __future__ import annotations

import json

import numpy as np
import pytest

from eg_agent.errors import BadInput
from eg_agent.model import log_prior, prior_names
from eg_agent.model.prior import smoothed


@pytest.mark.parametrize("name", prior_names())
def test_shipped_priors_are_normalised_and_leave_nothing_impossible(name):
    prior = np.exp(log_prior(name))
    assert prior.shape == (99,)
    assert prior.sum() == pytest.approx(1.0)
    assert prior.min() > 4e-4


def test_shipped_priors_follow_from_the_counts(structures, symmetry_tables):
    import csv

    groups = {}
    with (symmetry_tables / "extinction_groups.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            groups |= {int(sg): int(row["number"]) for sg in row["space_groups"].split()}
    with (structures / "sg_histogram.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {"mineral": "cod_amcsd_minerals_dara", "inorganic": "cod_inorganic_dara"}
    for name, column in columns.items():
        share = np.zeros(99)
        for row in rows:
            share[groups[int(row["spacegroup_number"])] - 1] += float(row[column])
        expected = 0.95 * share / share.sum() + 0.05 / 99
        np.testing.assert_allclose(np.exp(log_prior(name)), expected, rtol=1e-4)


def test_the_organic_prior_has_the_shares_of_molecular_crystals(symmetry_tables):
    import csv

    groups = {}
    with (symmetry_tables / "extinction_groups.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            groups |= {int(sg): int(row["number"]) for sg in row["space_groups"].split()}
    organic, inorganic = np.exp(log_prior("organic")), np.exp(log_prior("inorganic"))
    # percent of the Cambridge Structural Database: P 21/c, P 21 21 21, P b c a
    for number, percent in ((14, 34.3), (19, 6.8), (61, 3.2)):
        place = groups[number] - 1
        others = 0.95 * 0.08 * inorganic[place] + 0.05 / 99
        assert organic[place] == pytest.approx(0.95 * 0.01 * percent + others, abs=2e-3)
    # hardly a molecular crystal is P 1 2 1
    assert organic[groups[4] - 1] / organic[groups[3] - 1] > 8.0
    assert organic[groups[225] - 1] < 0.2 * inorganic[groups[225] - 1]


def test_smoothing_keeps_order_and_mass():
    counts = np.zeros(99)
    counts[3], counts[7] = 900, 100
    prior = np.exp(smoothed(counts, 0.1))
    assert prior.sum() == pytest.approx(1.0)
    assert prior[3] == pytest.approx(0.81 + 0.1 / 99)
    assert prior[0] == pytest.approx(0.1 / 99)


@pytest.mark.parametrize("form", ["list", "object", "lines", "csv"])
def test_prior_from_a_file(tmp_path, form):
    weights = np.arange(1, 100, dtype=float)
    path = tmp_path / "mine.prior"
    text = {
        "list": json.dumps(weights.tolist()),
        "object": json.dumps({"weights": weights.tolist()}),
        "lines": "\n".join(str(w) for w in weights),
        "csv": ",".join(str(w) for w in weights),
    }[form]
    path.write_text(text)
    np.testing.assert_allclose(np.exp(log_prior(path)), weights / weights.sum())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "unknown prior"),
        ("[1, 2, 3]", "99 positive weights"),
        (json.dumps([0.0] + [1.0] * 98), "1 of them not positive"),
        (json.dumps([float("inf")] + [1.0] * 98), "99 positive"),
        ("[1, 2", "not readable"),
        ('{"prior": []}', "not readable"),
        ("one two three", "not readable"),
    ],
)
def test_bad_prior_files(tmp_path, content, message):
    path = tmp_path / "bad.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BadInput, match=message):
        log_prior(path)
