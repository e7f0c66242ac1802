"""The composition head: what must not matter does not, and what is told wrong is noticed or refused."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import gemmi
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from scipy.special import logsumexp

from eg_agent.chemistry import Composition
from eg_agent.errors import BadInput
from eg_agent.model import Classifier, read_card, save_checkpoint
from eg_agent.model.architectures import tiny
from eg_agent.model.checkpoint import composition_file, load_composition, save_composition
from eg_agent.model.composition import (
    CompositionCard,
    CompositionConfig,
    CompositionHead,
    CompositionWeights,
    chemistry,
    element_properties,
)
from eg_agent.model.composition_reader import CompositionReader
from eg_agent.model.known_compositions import KnownCompositions, Trust
from eg_agent.model.network import Network
from eg_agent.patterns import Pattern, Radiation
from eg_agent.values import to_json

SMALL = CompositionConfig(features=24, width=16, depth=1, heads=2, hidden=20)
SYMBOLS = [gemmi.Element(z).name for z in range(1, 100)]
AMOUNTS = st.dictionaries(st.sampled_from(SYMBOLS), st.floats(0.1, 50.0), min_size=1, max_size=8)


def stirred(head: CompositionHead, seed: int = 0) -> CompositionHead:
    """The head with random readouts: fresh ones are zero."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for layer in (head.group, head.match):
            torch.nn.init.normal_(layer.weight)
    return head.eval()


@pytest.fixture(scope="module")
def head() -> CompositionHead:
    torch.manual_seed(1)
    return stirred(CompositionHead(SMALL))


def told(head: CompositionHead, *compositions: Composition) -> list[np.ndarray]:
    feature = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 24))).float()
    with torch.inference_mode():
        said = head(feature.expand(len(compositions), -1), chemistry(compositions))
    return [part.numpy() for part in said]


def test_a_fresh_head_adds_nothing():
    said = told(CompositionHead(SMALL).eval(), Composition.of_formula("NaCl"))
    assert all((part == 0).all() for part in said)


@settings(max_examples=30, deadline=None)
@given(AMOUNTS, st.floats(0.5, 20.0))
def test_a_common_factor_says_nothing(head, amounts: dict[str, float], factor: float):
    more = {symbol: amount * factor for symbol, amount in amounts.items()}
    for one, two in zip(
        told(head, Composition.of_amounts(amounts)), told(head, Composition.of_amounts(more)), strict=True
    ):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(AMOUNTS, AMOUNTS)
def test_amounts_that_are_not_told_have_no_influence(head, amounts, others):
    one = Composition.of_amounts(amounts).without_amounts()
    other = replace(one, amounts=tuple((s, 1.0) for s, _ in one.amounts))
    shares = chemistry([one])
    changed = shares._replace(share_BE=torch.rand(shares.share_BE.shape))
    feature = torch.zeros(1, 24)
    with torch.inference_mode():
        for a, b in zip(head(feature, shares), head(feature, changed), strict=True):
            torch.testing.assert_close(a, b)
    assert one == other


def test_each_composition_is_read_by_itself(head):
    """Padding and neighbours in a batch do not matter."""
    long = Composition.of_formula("K2Na4Ca3Al2Si3O12H8F2")
    short = Composition.of_formula("NaCl")
    for both, apart in zip(told(head, long, short), zip(told(head, long), told(head, short)), strict=True):
        np.testing.assert_allclose(both[0], apart[0][0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(both[1], apart[1][0], rtol=1e-4, atol=1e-5)


def test_amounts_and_elements_matter(head):
    groups = told(
        head,
        Composition.of_formula("FeO"),
        Composition.of_formula("Fe3O4"),
        Composition.of_elements("Fe O"),
        Composition.of_formula("CoO"),
    )[0]
    for i in range(4):
        for j in range(i):
            assert np.abs(groups[i] - groups[j]).max() > 1e-3


def test_elements_know_their_place():
    table = np.array(element_properties())
    assert table.shape == (119, 6)
    assert (table[0] == 0).all()
    periods = [gemmi.Element(symbol).atomic_number for symbol in ("He", "Ne", "Ar", "Kr", "Xe", "Rn", "Og")]
    assert np.allclose(table[periods, 0] * 6, range(7))
    assert np.allclose(table[periods, 1], 1.0)
    assert (table[[3, 11, 19, 37, 55, 87], 1] < 0.2).all()  # alkali metals begin a period


def test_weights_join_as_a_product():
    rng = np.random.default_rng(2)
    prior = np.log(rng.dirichlet(np.ones(99)))
    posterior = np.log(rng.dirichlet(np.ones(99), 3))
    added = rng.normal(size=(3, 99))
    plain = CompositionWeights().joined(posterior, prior, added)
    expected = posterior + added
    np.testing.assert_allclose(plain, expected - logsumexp(expected, axis=1, keepdims=True))
    np.testing.assert_allclose(CompositionWeights(composition=0.0).joined(posterior, prior, added), posterior)


@pytest.fixture
def card(tmp_path):
    """A checkpoint of a tiny network, without a composition head."""
    network = Network(tiny())
    blank = replace(read_card("default"), composition=None, novelty=None, architecture=tiny(), name="tiny")
    save_checkpoint(tmp_path / "tiny", network, blank)
    return tmp_path / "tiny.json"


def with_head(card, limit: float = -1e6) -> CompositionHead:
    classifier = Classifier.load(card)
    features = classifier.network.aux_head.in_features
    head = stirred(CompositionHead(replace(SMALL, features=features)))
    about = CompositionCard(config=head.config, contradiction=(limit, limit))
    save_composition(card, classifier.card, CompositionReader(head), about)
    return head


def pattern() -> Pattern:
    angle = np.arange(5.0, 90.0, 0.02)
    rng = np.random.default_rng(3)
    lines = np.exp(-(((angle[:, None] - rng.uniform(10, 80, 20)) / 0.1) ** 2)).sum(1)
    return Pattern(angle, rng.poisson(20 + 500 * lines).astype(float), Radiation.anode("Cu"), raw_counts=True)


def test_a_checkpoint_keeps_its_head(card):
    assert Classifier.load(card).composition is None
    head = with_head(card)
    again = load_composition(card, read_card(card))
    assert again is not None
    assert again.known is None
    for name, value in head.state_dict().items():
        torch.testing.assert_close(
            again.head.state_dict()[name], value, rtol=1e-3, atol=1e-3
        )  # fp16 matrices


def test_a_checkpoint_keeps_what_is_known(card):
    head = with_head(card)
    calcite = Composition.of_formula("CaCO3")
    rows = [(calcite.atomic_numbers, calcite.fractions, 70)] * 3
    known = KnownCompositions.of_entries(rows, np.full(99, -np.log(99.0)))
    trust = Trust(exact=0.5, elements=2.0, width=0.01)
    before = read_card(card)
    assert before.composition is not None
    save_composition(card, before, CompositionReader(head, known, trust), before.composition)
    about = read_card(card).composition
    assert about is not None
    assert (about.trust, about.known_entries) == (trust, 3)
    classifier = Classifier.load(card)
    features = np.zeros((2, classifier.network.aux_head.in_features))
    added, _ = classifier.composition_logits(features, [calcite, Composition.of_formula("KBr")])
    alone, _ = CompositionReader(head).read(features, [calcite, Composition.of_formula("KBr")])
    assert added[0].argmax() == 69
    np.testing.assert_allclose(added[1], alone[1] - logsumexp(alone[1]) + np.log(99.0), atol=1e-2)  # fp16
    broken = load_tensors(composition_file(card).read_bytes())
    del broken["known.group_N"]
    weights = save_tensors(broken)
    composition_file(card).write_bytes(weights)
    damaged = replace(about, weights_sha256=hashlib.sha256(weights).hexdigest())
    card.write_text(to_json(replace(read_card(card), composition=damaged)))
    with pytest.raises(BadInput, match="lack 'group_N'"):
        Classifier.load(card)


def test_without_a_head_a_composition_is_refused(card):
    with pytest.raises(BadInput, match="knows no chemistry"):
        Classifier.load(card).predict(pattern(), Composition.of_formula("NaCl"))


@pytest.mark.parametrize("damage", ["absent", "truncated", "foreign"])
def test_damaged_weights_of_the_head_are_named(card, damage):
    with_head(card)
    path = composition_file(card)
    if damage == "absent":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-40] if damage == "truncated" else b"something else")
    with pytest.raises(BadInput, match=str(path.name)):
        Classifier.load(card)


def test_nothing_told_is_as_before(card):
    before = Classifier.load(card).predict(pattern())
    with_head(card)
    after = Classifier.load(card).predict(pattern())
    np.testing.assert_array_equal(before.log_probability, after.log_probability)
    assert after.composition == ""
    assert after.composition_odds is None


def test_a_composition_is_counted_and_said(card):
    with_head(card)
    classifier = Classifier.load(card)
    salt = Composition.of_formula("NaCl")
    plain, both = classifier.predict([pattern(), pattern()], [None, salt])
    assert both.composition == "ClNa"
    assert not both.contradicts
    assert np.abs(both.log_probability - plain.log_probability).max() > 0.1
    assert np.exp(both.log_probability).sum() == pytest.approx(1.0)
    alone = classifier.predict(pattern(), salt)
    np.testing.assert_allclose(alone.log_probability, both.log_probability, rtol=1e-4, atol=1e-4)


def test_what_contradicts_the_pattern_is_not_believed(card):
    with_head(card, limit=1e6)
    classifier = Classifier.load(card)
    plain = classifier.predict(pattern())
    doubted = classifier.predict(pattern(), Composition.of_formula("NaCl"))
    assert doubted.contradicts
    np.testing.assert_array_equal(doubted.log_probability, plain.log_probability)
