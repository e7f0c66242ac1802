"""The whole of it on a real network and a real fit: answers, refusals, provenance, determinism."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from eg_agent import __version__
from eg_agent.errors import BadInput
from eg_agent.identify import Identification, Identifier, IdentifySettings, joint
from eg_agent.identify.fusion import evidence_posterior, fuse
from eg_agent.identify.identifier import branch_of_set, groups_of_cell
from eg_agent.patterns import Pattern, Radiation, write_xye
from eg_agent.symmetry import ancestors, children, descendants, group, parents
from eg_agent.values import from_json, schema, to_dict, to_json

CELL = (7.3, 8.9, 10.6, 90.0, 90.0, 90.0)
P_NMA = (17, "P n - a", CELL)  # Pnma and Pna21 in the axes of Pnma


@pytest.fixture(scope="module")
def pnma(powder) -> Pattern:
    return powder(*P_NMA)


@pytest.fixture(scope="module")
def answer(identifier: Identifier, pnma: Pattern) -> Identification:
    return identifier.identify(pnma, CELL)


def test_the_fit_finds_the_group_that_made_the_pattern(answer: Identification) -> None:
    assert answer.evidence is not None
    assert answer.evidence.status == "fitted", answer.evidence.reason
    assert answer.evidence_only is not None
    assert int(np.argmax(answer.evidence_only)) + 1 == 17
    assert answer.top[0].group == 17
    assert "Pnma" in answer.top[0].space_groups
    assert answer.prediction_set[0] == 17
    assert "P n - a" in answer.reason
    assert "nats" in answer.reason


def test_the_answer_is_the_fusion_of_its_parts(identifier: Identifier, answer: Identification) -> None:
    assert answer.network is not None
    assert answer.evidence is not None
    alone = evidence_posterior(answer.evidence, identifier.settings)
    np.testing.assert_allclose(answer.evidence_only, alone)
    carried = groups_of_cell(CELL)
    both = joint.weigh(answer.network.log_probability, answer.network.log_prior, answer.evidence, carried)
    np.testing.assert_allclose(answer.log_probability, both)
    listed = [row.probability for row in answer.top]
    assert listed == sorted(listed, reverse=True)
    np.testing.assert_allclose(listed, np.exp([answer.log_probability[row.group - 1] for row in answer.top]))


def test_the_plain_product_on_request(identifier: Identifier, pnma: Pattern) -> None:
    plain = Identifier(identifier.classifier, settings=IdentifySettings(fusion="product"))
    answer = plain.identify(pnma, CELL)
    assert answer.network is not None
    np.testing.assert_allclose(
        answer.log_probability, fuse(answer.network.log_probability, answer.evidence_only, plain.settings)
    )


def test_provenance_is_enough_to_make_it_again(
    identifier: Identifier, answer: Identification, pnma: Pattern
) -> None:
    made = answer.provenance
    assert made.pattern_uid == pnma.uid
    assert made.version == __version__
    assert made.checkpoint == identifier.classifier.checkpoint_hash
    assert made.prior == "uniform"
    assert made.cell == CELL
    assert made.settings is not None
    assert made.settings["evidence_weight"] == identifier.settings.evidence_weight
    again = identifier.identify(pnma, CELL)
    assert _without_times(again) == _without_times(answer)


def _without_times(answer: Identification) -> dict:
    data = to_dict(answer)
    data["seconds"] = data["evidence"]["seconds"] = 0.0
    return data


def test_json_validates_and_reads_back(identifier: Identifier, answer: Identification, pnma: Pattern) -> None:
    published = schema(Identification)
    jsonschema.Draft202012Validator.check_schema(published)
    refused = identifier.identify(replace(pnma, intensity=np.zeros(len(pnma))))
    for value in (answer, identifier.identify(pnma), refused):
        jsonschema.validate(json.loads(to_json(value)), published)
        assert to_json(from_json(Identification, to_json(value))) == to_json(value)


def test_without_a_cell_the_network_speaks_alone(identifier: Identifier, pnma: Pattern) -> None:
    answer = identifier.identify(pnma)
    assert answer.evidence is not None
    assert answer.evidence.status == "no cell"
    assert answer.evidence_only is None
    assert answer.network is not None
    np.testing.assert_allclose(answer.log_probability, answer.network.log_probability, atol=1e-12)
    assert "network speaks alone" in answer.reason
    assert "cell" in answer.would_settle[0].reason
    assert answer.verdict == "no confident match"  # random weights know nothing


def test_a_wrong_cell_is_not_believed(identifier: Identifier, pnma: Pattern) -> None:
    wrong = (3.1, 4.2, 5.3, 90.0, 90.0, 90.0)
    answer = identifier.identify(pnma, wrong)
    assert answer.evidence is not None
    assert answer.evidence.status == "not fitted"
    assert answer.verdict != "identified"
    assert "does not fit" in answer.reason


def test_a_fit_that_breaks_down_leaves_the_network(
    identifier: Identifier, pnma: Pattern, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eg_agent.identify import identifier as module

    def broken(*_: object, **__: object) -> None:
        raise np.linalg.LinAlgError("SVD did not converge")

    monkeypatch.setattr(module, "verify", broken)
    answer = identifier.identify(pnma, CELL)
    assert answer.evidence is not None
    assert answer.evidence.status == "not fitted"
    assert "SVD" in answer.reason
    assert answer.verdict != "identified"
    assert answer.log_probability is not None


def test_the_branch_gives_the_same_answer_for_a_network_without_an_opinion(
    identifier_by_branch: Identifier, answer: Identification, pnma: Pattern
) -> None:
    # A set of nearly all groups has a branch of all groups.
    assert identifier_by_branch.identify(pnma, CELL).top[0] == answer.top[0]


def test_a_branch_is_a_set_with_its_chains() -> None:
    near = branch_of_set((17,))
    assert near == {17} | parents(17) | children(17) | ancestors(17) | descendants(17)
    assert branch_of_set((17, 60)) == near | branch_of_set((60,))


def test_groups_of_a_cell_are_of_its_system() -> None:
    for cell, systems in (
        ((5.0, 6.0, 7.0, 90.0, 90.0, 90.0), {"orthorhombic"}),
        ((5.0, 6.0, 7.0, 90.0, 100.0, 90.0), {"monoclinic"}),
        ((5.0, 6.0, 7.0, 90.0, 90.0, 100.0), {"monoclinic"}),
        ((5.0, 5.0, 7.0, 90.0, 90.0, 120.0), {"trigonal/hexagonal"}),
        ((5.0, 5.0, 5.0, 70.0, 70.0, 70.0), {"trigonal/hexagonal"}),
        ((5.0, 6.0, 7.0, 80.0, 85.0, 95.0), {"triclinic"}),
        ((5.0, 5.0, 5.0, 90.0, 90.0, 90.0), {"cubic"}),
    ):
        carried = groups_of_cell(cell)
        assert {group(n).crystal_system for n in carried} == systems
        if systems == {"orthorhombic"}:
            assert len(carried) == 33


def test_an_impossible_cell_is_a_wrong_argument(identifier: Identifier, pnma: Pattern) -> None:
    for wrong in ((1.0, 2.0), (5.0, 6.0, 7.0, 90.0, 90.0, 190.0), (0.0, 6.0, 7.0, 90.0, 90.0, 90.0)):
        with pytest.raises(BadInput):
            identifier.identify(pnma, wrong)


def _changed(pattern: Pattern, **values: object) -> Pattern:
    return replace(pattern, **{"counting_time": None, "raw_counts": False, **values})


def _bad(pnma: Pattern) -> dict[str, tuple[Pattern, str]]:
    x, y = pnma.two_theta, pnma.intensity
    with_nan = y.copy()
    with_nan[10] = np.nan
    unsorted = x.copy()
    unsorted[[5, 6]] = unsorted[[6, 5]]
    negative = y - 0.5 * y.max()
    clipped = np.minimum(y, 0.2 * y.max())
    short = slice(0, 300)
    few = slice(0, None, 40)
    noise = np.random.default_rng(0).poisson(100.0, x.size).astype(float)
    return {
        "NaN": (_changed(pnma, intensity=with_nan), "NaN"),
        "unsorted": (_changed(pnma, two_theta=unsorted), "increase"),
        "zero": (_changed(pnma, intensity=np.zeros_like(y)), "zero"),
        "negative": (_changed(pnma, intensity=negative), "negative"),
        "saturated": (_changed(pnma, intensity=clipped), "saturated"),
        "short range": (_changed(pnma, two_theta=x[short], intensity=y[short]), "range"),
        "few points": (_changed(pnma, two_theta=x[few], intensity=y[few]), "points"),
        "no peak": (_changed(pnma, intensity=noise), "peak"),
        "outside the network's range": (_changed(pnma, radiation=Radiation(0.05)), "range"),
    }


@pytest.mark.parametrize(
    "case",
    [
        "NaN", "unsorted", "zero", "negative", "saturated", "short range", "few points", "no peak",
        "outside the network's range",
    ],
)  # fmt: skip
def test_bad_data_is_refused_with_the_reason(identifier: Identifier, pnma: Pattern, case: str) -> None:
    pattern, said = _bad(pnma)[case]
    answer = identifier.identify(pattern, CELL)
    assert answer.verdict == "refused"
    assert said in answer.reason
    assert answer.log_probability is None
    assert answer.top == ()
    assert answer.prediction_set == ()
    assert answer.provenance.pattern_uid == pattern.uid


def test_a_file_gives_the_answer_of_its_pattern(
    identifier: Identifier, pnma: Pattern, tmp_path: Path
) -> None:
    path = tmp_path / "sample.xye"
    write_xye(pnma, path)
    answer = identifier.identify_file(path, CELL, wavelength=1.540593)
    assert answer.top[0].group == 17
    assert answer.provenance.source.kind == "file"
    assert answer.provenance.source.name.endswith("sample.xye")
    with pytest.raises(BadInput, match=r"absent\.xy"):
        identifier.identify_file(tmp_path / "absent.xy")


def test_a_file_without_a_wavelength_is_refused(
    identifier: Identifier, pnma: Pattern, tmp_path: Path
) -> None:
    path = tmp_path / "sample.xy"
    np.savetxt(path, np.column_stack([pnma.two_theta, pnma.intensity]))
    answer = identifier.identify_file(path, CELL)
    assert answer.verdict == "refused"
    assert "wavelength" in answer.reason
    assert answer.provenance.source.name == str(path)
    assert answer.provenance.cell == CELL


def test_only_a_weak_pattern_is_to_be_counted_longer(identifier: Identifier, pnma: Pattern) -> None:
    rng = np.random.default_rng(0)
    weak = _changed(
        pnma,
        intensity=rng.poisson(0.02, len(pnma)).astype(np.float64),
        raw_counts=True,
        sigma=None,
        counting_time=np.full(len(pnma), 0.05),
    )
    answer = identifier.identify(weak)
    assert answer.verdict == "refused"
    assert answer.measured is not None
    assert answer.measured.seconds_per_point == 0.05
    dead = identifier.identify(_changed(weak, intensity=np.zeros(len(pnma))))
    assert dead.verdict == "refused"
    assert dead.measured is None


def test_windows_counted_longer_change_no_scale(identifier: Identifier, pnma: Pattern) -> None:
    # ten times the counts where ten times as long was counted is the same sample
    inside = (pnma.two_theta > 20.0) & (pnma.two_theta < 40.0)
    factor = np.where(inside, 10.0, 1.0)
    even = _changed(
        pnma,
        intensity=np.round(pnma.intensity),
        raw_counts=True,
        sigma=None,
        counting_time=np.ones(len(pnma)),
    )
    uneven = _changed(even, intensity=even.intensity * factor, counting_time=factor)
    one, other = (identifier.identify(p).network.log_probability for p in (even, uneven))
    np.testing.assert_allclose(np.exp(one), np.exp(other), atol=1e-3)


def test_the_branch_is_followed_out_of_a_wrong_set(
    identifier: Identifier, pnma: Pattern, answer: Identification
) -> None:
    """A network that is sure of C - - - (26) has a branch without P n - a; the evidence leads there."""
    from eg_agent.identify import IdentifySettings

    assert 17 not in branch_of_set((26,))
    log_p = np.full(99, np.log(1e-6))
    log_p[25] = 0.0
    by_branch = Identifier(
        identifier.classifier, settings=IdentifySettings(candidates="branch", time_limit=60.0)
    )
    evidence, alone = by_branch._evidence(pnma, CELL, log_p)
    assert evidence.candidates[0].group == 17
    assert alone is not None
    assert answer.evidence is not None
    assert len(evidence.candidates) < len(answer.evidence.candidates)
