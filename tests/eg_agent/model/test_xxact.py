"""XxaCT-NN: what must not matter does not, either input may be missing, and the checkpoint that ships."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eg_agent.chemistry import Composition
from eg_agent.errors import BadInput, BadPattern
from eg_agent.model.composition import chemistry
from eg_agent.model.properties import (
    Formulas,
    PropertyCard,
    PropertyModel,
    Widening,
    save_properties,
)
from eg_agent.model.xxact import SIZES, Scale, Xxact, XxactConfig, size, tiny
from eg_agent.patterns import Pattern, Radiation

NACL, GARNET = Composition.of_formula("NaCl"), Composition.of_formula("Ca3Al2Si3O12")


def stirred(config: XxactConfig | None = None) -> Xxact:
    """Random weights, the heads' too: fresh ones are zero."""
    torch.manual_seed(3)
    network = Xxact(config or tiny())
    for head in (network.energy, network.gap, network.system):
        torch.nn.init.normal_(head.weight, std=0.3)
    return network.eval()


@pytest.fixture(scope="module")
def network() -> Xxact:
    return stirred()


def pattern(n: int = 2, length: int = 1024) -> torch.Tensor:
    return torch.rand(n, length, generator=torch.Generator().manual_seed(1)) ** 8


@torch.inference_mode()
def said(network: Xxact, *args) -> list[np.ndarray]:
    return [part.numpy() for part in network(*args)]


def test_sizes_have_the_tokens_that_they_say():
    for name in ("tiny", "small", "cpu"):
        made = Xxact(size(name))
        encoded = made.encode(torch.rand(1, made.config.length), None, chemistry([NACL]), all_tokens=True)
        assert encoded.tokens_BTD.shape == (1, 1 + made.config.tokens, made.config.width)
        assert made.rebuilt_intensity(encoded).shape == (1, made.config.tokens, made.config.patch)
    assert SIZES["published"]().fusion_depth == 12
    with pytest.raises(BadInput, match="no size 'huge'"):
        size("huge")
    for wrong in ({"length": 1000}, {"stem_strides": (4, 4)}, {"width": 30, "heads": 4}):
        with pytest.raises(BadInput):
            XxactConfig(**wrong)


@pytest.mark.parametrize("config", [tiny(), replace(tiny(), stem="patch")])
def test_either_input_may_be_missing_and_both_count(config):
    network = stirred(config)
    x, given_ = pattern(), chemistry([NACL, GARNET])
    both, xrd, alone = (said(network, *a) for a in ((x, None, given_), (x, None, None), (None, None, given_)))
    for a, b in ((both, xrd), (both, alone), (xrd, alone)):
        assert all(np.abs(p - q).max() > 1e-4 for p, q in zip(a, b, strict=True))
    with pytest.raises(BadInput, match="or both are needed"):
        network(None, None, None)
    with pytest.raises(BadInput, match="this network's grid has 1024"):
        network(torch.rand(1, 512), None, None)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 15), st.integers(1, 15))
def test_what_was_not_covered_has_no_influence(start, length):
    network = stirred()
    covered = torch.zeros(1, 1024, dtype=torch.bool)
    covered[:, 64 * start : 64 * (start + length)] = True
    x = pattern(1)
    other = torch.where(covered, x, torch.rand(1, 1024))
    given_ = chemistry([NACL])
    for a, b in zip(said(network, x, covered, given_), said(network, other, covered, given_), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_batch_and_the_order_of_elements_do_not_matter(network):
    x = pattern(3)
    together = said(network, x, None, chemistry([NACL, GARNET, Composition.of_formula("ClNa")]))
    alone = said(network, x[1:2], None, chemistry([GARNET]))
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a[1:2], b, atol=1e-4)
    twice = said(network, x[:1], None, chemistry([Composition.of_formula("Na2Cl2")]))
    np.testing.assert_allclose(twice[0], together[0][:1], atol=1e-4)


def test_attention_agrees_with_torch(network):
    """Ours on CPUs is another way to the same numbers."""
    block = network.fusion[0].self_attention
    x = torch.randn(2, 5, 32)
    mask = torch.tensor([[True, True, False, True, False], [True] * 5])[:, None, None, :]
    with torch.inference_mode():
        q, (k, v) = block.query(x), block.key_value(x).chunk(2, dim=-1)
        parts = [t.unflatten(-1, (block.heads, -1)).transpose(1, 2) for t in (q, k, v)]
        wanted = torch.nn.functional.scaled_dot_product_attention(*parts, attn_mask=mask)
        np.testing.assert_allclose(block(x, x, mask), block.out(wanted.transpose(1, 2).flatten(2)), atol=1e-5)


@pytest.fixture
def saved(tmp_path):
    network = stirred()
    card = PropertyCard(
        "test", network.config, Scale(-1.0, 0.8), Scale(0.7, 1.3), {"both": Widening(2.0, 1.0)}
    )
    return save_properties(tmp_path / "some", network, card, ["Cl1Na1"]), tmp_path / "some", network


def test_a_checkpoint_comes_back_as_it_was(saved):
    card, path, network = saved
    model = PropertyModel.load(path)
    assert model.card == card
    x = pattern().numpy()
    found = model.said(x, None, [NACL, GARNET])
    wanted = said(network, torch.from_numpy(x), None, chemistry([NACL, GARNET]))
    np.testing.assert_allclose(found.energy[:, 0], wanted[0][:, 0] * 0.8 - 1.0, atol=0.02)
    np.testing.assert_allclose(found.system.sum(1), 1.0)
    alone = replace(model, card=replace(card, widening={})).said(x, None, [NACL, GARNET])
    np.testing.assert_allclose(found.energy[:, 1], 2.0 * alone.energy[:, 1])
    assert "Cl1Na1" in model.trained_formulas
    assert "Mg1O1" not in model.trained_formulas
    with pytest.raises(BadInput, match="does not say how much of each"):
        model.said(x[:1], None, [NACL.without_amounts()])


def test_damaged_files_are_refused_with_the_reason(saved):
    _, path, _ = saved
    weights, card = path.with_suffix(".safetensors"), path.with_name("some.card.json")
    formulas = path.with_name("some.formulas.bin")
    whole = {p: p.read_bytes() for p in (weights, card, formulas)}
    for damaged in (whole[weights][:-3], b""):
        weights.write_bytes(damaged)
        with pytest.raises(BadInput, match="do not belong to their card"):
            PropertyModel.load(path)
    weights.write_bytes(whole[weights])
    formulas.write_bytes(b"x")
    with pytest.raises(BadInput, match="does not belong to its card"):
        _ = PropertyModel.load(path).trained_formulas
    for text in (b"{", b"[]", json.dumps({"card_version": 99}).encode(), b'{"card_version": 1}'):
        card.write_bytes(text)
        with pytest.raises(BadInput, match="card"):
            PropertyModel.load(path)
    with pytest.raises(BadInput, match="no multimodal checkpoint"):
        PropertyModel.load(path.with_name("absent"))


def test_a_set_of_formulas_holds_them_and_hardly_another():
    inside = [f"Fe{i}O{j}" for i in range(1, 60) for j in range(1, 60)]
    found = Formulas(Formulas.packed(inside))
    assert len(found) == len(set(inside)) == 59 * 59
    assert all(formula in found for formula in inside)
    assert sum(f"Al{i}S{j}" in found for i in range(1, 60) for j in range(1, 60)) <= 1


def test_the_shipped_checkpoint_answers_for_any_input():
    model = PropertyModel.load()
    two_theta = np.arange(10.0, 90.0, 0.02)
    squares = np.array([3, 4, 8, 11, 12, 16, 19, 20, 24, 27, 32])
    lines = 2 * np.degrees(np.arcsin(1.5406 * np.sqrt(squares) / (2 * 5.64)))
    height = np.exp(-0.5 * ((two_theta[:, None] - lines) / 0.08) ** 2) @ np.array(
        [8, 100, 55, 2, 15, 6, 1, 11, 7, 1, 3.0]
    )
    salt = Pattern(two_theta, height + 0.5, Radiation(1.5406))
    both, alone = model.estimate(salt, NACL), model.estimate(None, NACL)
    # -2.1 eV/atom is what the Materials Project has for rock salt.
    for found in (both, alone):
        assert -2.8 < found.formation_energy.value < -1.4
        assert found.formation_energy.low < found.formation_energy.value < found.formation_energy.high
        assert 0 <= found.band_gap.low <= found.band_gap.value <= found.band_gap.high
    assert both.inputs == "both"
    assert alone.inputs == "composition"
    assert sum(p for _, p in both.crystal_systems) == pytest.approx(1, abs=1e-4)
    assert model.estimate(salt, None).inputs == "xrd"
    off = Pattern(np.linspace(1.0, 2.0, 50), np.ones(50), Radiation(1.5406))
    with pytest.raises(BadPattern, match="no point on the range"):
        model.estimate(off, NACL)
