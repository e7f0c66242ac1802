"""The network: shapes, masks, the paper's decoder against plain numpy, FLOPs against torch's counter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from eg_agent.errors import BadInput
from eg_agent.model.architectures import NETWORKS, paper, small, tiny
from eg_agent.model.checkpoint import config_from_dict, config_to_dict
from eg_agent.model.network import N_BITS, N_GROUPS, Network, NetworkConfig
from eg_agent.model.stems import Conv, Norm, as_image
from eg_agent.symmetry import group_of_space_group, published_codes


def patterns(config: NetworkConfig, n: int, covered: tuple[float, float] = (0.0, 1.0)):
    generator = torch.Generator().manual_seed(7)
    intensity = torch.rand(n, config.length, generator=generator) ** 8
    position = torch.linspace(0, 1, config.length)
    coverage = ((position >= covered[0]) & (position <= covered[1])).expand(n, -1).clone()
    return torch.where(coverage, intensity, 0.0), coverage


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    return Network(tiny()).eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_answers_gives_gradients_and_starts_from_its_prior(name):
    torch.manual_seed(0)
    config = NETWORKS[name]()
    net = Network(config)
    prior = torch.log_softmax(torch.linspace(0, 3, N_GROUPS), 0)
    net.start_from_prior(prior, torch.zeros(25))
    intensity, coverage = patterns(config, 2, (0.1, 0.7))
    heads = net(intensity, coverage)
    assert heads.split.shape == (2, N_BITS)
    assert heads.aux.shape == (2, N_GROUPS)
    (heads.split.sum() + heads.aux.sum()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    # the readout is of order 1 and the heads' weights of order 0.02, so the bias dominates
    assert torch.corrcoef(torch.stack([heads.aux[0], prior]))[0, 1] > 0.9


def test_published_size():
    # "about 0.88 M" for d=128, depth 4, 4 heads (arXiv:2604.23811)
    assert Network(paper()).parameters_count == pytest.approx(0.88e6, rel=0.01)
    assert paper().tokens == 341


@pytest.mark.parametrize("name", NETWORKS)
def test_flops_agree_with_torch(name):
    config = NETWORKS[name]()
    net = Network(config).eval()
    intensity, coverage = patterns(config, 1)
    with (
        torch.no_grad(),
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),  # the one that torch counts
        FlopCounterMode(display=False) as counter,
    ):
        net(intensity, coverage)
    assert net.flops() == pytest.approx(counter.get_total_flops(), rel=0.005)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("n", [1, 3])
def test_what_was_not_measured_has_no_influence(name, n):
    config = NETWORKS[name]()
    torch.manual_seed(1)
    net = Network(config).eval()
    intensity, coverage = patterns(config, n, (0.3, 0.6))
    with torch.inference_mode():
        clean = net(intensity, coverage)
        dirty = net(torch.where(coverage, intensity, torch.tensor(float("nan"))), coverage)
        changed = net(intensity * 0.5, coverage)
    assert torch.equal(clean.aux, dirty.aux)
    assert torch.equal(clean.split, dirty.split)
    assert not torch.allclose(clean.aux, changed.aux)


@pytest.mark.parametrize("stem", ["conv", "patch"])
@pytest.mark.parametrize("covered", [(0.0, 1.0), (0.2, 0.5), (0.9, 0.95)])
def test_dropped_tokens_equal_masked_tokens(stem, covered):
    torch.manual_seed(2)
    config = replace(tiny(), stem=stem, patch=24)
    net = Network(config).eval()
    intensity, coverage = patterns(config, 3, covered)
    with torch.inference_mode():
        together = net(intensity, coverage)
        alone = [net(intensity[i : i + 1], coverage[i : i + 1]) for i in range(3)]
    assert torch.allclose(together.aux, torch.cat([h.aux for h in alone]), atol=1e-5)
    assert torch.allclose(together.split, torch.cat([h.split for h in alone]), atol=1e-5)


def test_bf16_autocast_is_close_to_fp32(network):
    intensity, coverage = patterns(network.config, 4, (0.1, 0.8))
    with torch.inference_mode():
        exact = network(intensity, coverage).aux
        with torch.autocast("cpu", torch.bfloat16):
            rounded = network(intensity, coverage).aux.float()
    assert torch.allclose(exact, rounded, atol=0.03 * float(exact.abs().max()))


def test_nothing_covered_is_still_an_answer(network):
    intensity, coverage = patterns(network.config, 2, (2.0, 3.0))
    assert not coverage.any()
    with torch.inference_mode():
        batch, one = network(intensity, coverage), network(intensity[:1], coverage[:1])
    assert torch.isfinite(batch.aux).all()
    assert torch.allclose(batch.aux[:1], one.aux, atol=1e-5)


def test_a_background_moves_the_flat_channel_little(network):
    config = small()
    net = Network(config).eval()
    intensity, coverage = torch.zeros(1, config.length), torch.ones(1, config.length, dtype=torch.bool)
    intensity[0, 100::300] = 1.0
    with torch.inference_mode():
        flat = config.channels.index("flat")
        clean = net._channels(intensity, coverage)[0, flat]
        raised = net._channels(intensity + 0.3, coverage)[0, flat]
    assert torch.allclose(clean, raised, atol=1e-4)


def reference_scores(split: np.ndarray, log_pos_weight: np.ndarray) -> np.ndarray:
    """The paper's decoder, one pattern and one group at a time."""
    codes = np.array(published_codes(), dtype=float)
    out = np.empty((len(split), 99))
    for b, row in enumerate(split.astype(float)):
        system = row[:7] - np.log(np.exp(row[:7]).sum())
        lattice = row[7:12] - np.log(np.exp(row[7:12]).sum())
        probability = 1.0 / (1.0 + np.exp(-(row[12:] - log_pos_weight)))
        for g in range(99):
            score = system[codes[g, :7].argmax()] + lattice[codes[g, 7:12].argmax()]
            for bit in range(25):
                score += np.log(probability[bit] if codes[g, 12 + bit] else 1.0 - probability[bit])
            out[b, g] = score
    return out - np.log(np.exp(out).sum(1, keepdims=True))


@pytest.mark.parametrize("weighted", [False, True])
def test_decoder_against_numpy(network, weighted):
    rng = np.random.default_rng(3)
    split = rng.normal(0, 2, (4, N_BITS)).astype(np.float32)
    weight = rng.uniform(0, 4, 25).astype(np.float32) if weighted else np.zeros(25, np.float32)
    network.log_pos_weight_O.copy_(torch.from_numpy(weight))
    try:
        found = network.split_scores(torch.from_numpy(split)).numpy()
    finally:
        network.log_pos_weight_O.zero_()
    np.testing.assert_allclose(found, reference_scores(split, weight), atol=1e-4)


def test_a_group_with_its_own_code_wins(network):
    codes = torch.from_numpy(np.array(published_codes(), dtype=np.float32))
    scores = network.split_scores(20 * codes - 10)
    best = scores.argmax(1)
    same = (codes[best] == codes).all(1)
    assert same.all()


def test_wrong_length_says_what_to_do(network):
    with pytest.raises(BadInput, match="grid has 512"):
        network(torch.zeros(1, 100), torch.ones(1, 100, dtype=torch.bool))


@pytest.mark.parametrize("change", [{"heads": 3}, {"stem_blocks": (1,)}])
def test_impossible_configurations(change):
    with pytest.raises(BadInput):
        replace(tiny(), **change)


def test_space_groups_are_summed_over_each_extinction_group():
    torch.manual_seed(5)
    config = replace(tiny(), classes="space groups")
    net = Network(config).eval()
    with torch.inference_mode():
        heads = net(*patterns(config, 3))
    assert heads.space is not None
    space = heads.space.double().numpy()
    probability = np.exp(space) / np.exp(space).sum(1, keepdims=True)
    expected = np.zeros((3, 99))
    for number in range(1, 231):
        expected[:, group_of_space_group(number) - 1] += probability[:, number - 1]
    assert np.allclose(torch.softmax(heads.aux.double(), 1).numpy(), expected, atol=1e-6)
    prior = torch.log_softmax(torch.linspace(0, 3, N_GROUPS), 0)
    net.start_from_prior(prior, torch.zeros(25))
    assert torch.allclose(torch.log_softmax(net._heads(torch.zeros(1, 32)).aux, 1)[0], prior, atol=1e-5)


def test_a_card_from_before_a_field_existed_means_its_default():
    old = config_to_dict(small())
    for name in ("position", "classes"):
        del old[name]
    assert config_from_dict(old) == small()


def test_cpu_networks_are_small_and_the_gpu_network_is_not():
    for name, low, high in (("residual", 1, 3), ("hybrid", 1, 3), ("trial", 2.8, 3), ("base", 6, 20)):
        assert low <= Network(NETWORKS[name]()).parameters_count / 1e6 <= high


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_a_convolution_of_images_is_that_of_torch(stride):
    """With the weights of torch's layers over [B, C, L], in training and in evaluation."""
    torch.manual_seed(0)
    ours = torch.nn.Sequential(Conv(4, 6, 5, stride, padding=2, bias=False), Norm(6))
    theirs = torch.nn.Sequential(
        torch.nn.Conv1d(4, 6, 5, stride, padding=2, bias=False), torch.nn.BatchNorm1d(6)
    )
    theirs.load_state_dict(ours.state_dict())
    x_BCL = torch.randn(3, 4, 64)
    for _ in range(2):
        made = ours(as_image(x_BCL)).squeeze(2)
        torch.testing.assert_close(made, theirs(x_BCL), rtol=1e-4, atol=1e-5)
        ours.eval()
        theirs.eval()
    with pytest.raises(ValueError, match="got 3 dimensions"):
        Norm(4)(x_BCL)
