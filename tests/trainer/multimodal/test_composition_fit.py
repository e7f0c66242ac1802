"""The composition head: what it is trained on, that it learns, and the verb that makes one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from eg_agent.chemistry import Composition
from eg_agent.errors import BadInput
from eg_agent.model import Classifier, read_card
from eg_agent.model.composition import CompositionConfig, CompositionHead, chemistry
from eg_agent.symmetry import group_of_space_group
from simulators.corpus import Corpus, held_out
from trainer.cli.main import app
from trainer.multimodal import features
from trainer.multimodal.chemistries import Compositions, of_corpus, of_index
from trainer.multimodal.composition_fit import (
    CompositionTraining,
    Known,
    by_richness,
    held_out_figures,
    train_groups,
    train_match,
)

SMALL = CompositionConfig(features=12, width=16, depth=1, heads=2, hidden=24, dropout=0.0)


def test_compositions_of_a_corpus_are_its_formulas(corpus):
    packed = Corpus.load(corpus)
    found, row = of_corpus(packed)
    assert len(found) == (row >= 0).sum() == len(packed)
    for i in (0, len(packed) // 2, len(packed) - 1):
        wanted = chemistry([Composition.of_formula(packed.formulas[i])])
        torch.testing.assert_close(found.chemistry.element_BE[row[i]], wanted.element_BE[0])
        torch.testing.assert_close(found.chemistry.share_BE[row[i]], wanted.share_BE[0])
        assert int(found.group[row[i]]) + 1 == packed.group[i]


def test_entries_of_an_index_leave_out_held_out_formulas(tmp_path):
    formulas = [f"Fe{i}O{j}" for i in range(1, 9) for j in range(1, 9)] + ["Mg1.2Fe", "quartz", ""]
    pd.DataFrame({"formula": formulas, "sg": [225] * len(formulas)}).to_parquet(tmp_path / "index.parquet")
    found = of_index(tmp_path / "index.parquet")
    assert 0 < len(found) < 65
    assert set((found.group + 1).tolist()) == {group_of_space_group(225)}
    apart = [f for f in ("Fe2O3", "FeO", "Fe3O4") if held_out("Fe2O3")]
    assert len(apart) in (0, 3)
    rest = of_index(tmp_path / "index.parquet", apart=True)
    assert len(found) + len(rest) == 65  # two formulas name no composition
    nothing = pd.DataFrame({"formula": ["quartz"], "sg": [152]})
    nothing.to_parquet(tmp_path / "nothing.parquet")
    empty = of_index(tmp_path / "nothing.parquet")
    assert len(found.with_more(empty)) == len(found)
    assert found.with_more(empty).group.dtype == found.group.dtype
    with pytest.raises(BadInput, match="is not a file"):
        of_index(tmp_path / "absent.parquet")
    (tmp_path / "other.parquet").write_text("not one")
    with pytest.raises(BadInput, match="cannot be read as parquet"):
        of_index(tmp_path / "other.parquet")


def test_features_go_on_where_they_stopped(tmp_path, corpus, monkeypatch):
    classifier, packed = Classifier.load(), Corpus.load(corpus)
    whole = features.made(tmp_path / "whole.npz", classifier, packed, 512, "train")
    features.made(tmp_path / "parts.npz", classifier, packed, 256, "train")
    parts = features.made(tmp_path / "parts.npz", classifier, packed, 512, "train")
    np.testing.assert_array_equal(whole.feature, parts.feature)
    np.testing.assert_array_equal(whole.structure, parts.structure)
    assert (packed.split[whole.structure] == 0).all()
    apart = features.made(tmp_path / "apart.npz", classifier, packed, 256, "held_out")
    assert (packed.split[apart.structure] == 1).all()
    other = replace(classifier, card=replace(classifier.card, weights_sha256="0" * 64))
    with pytest.raises(BadInput, match="features of network"):
        features.made(tmp_path / "parts.npz", other, packed, 768, "train")
    (tmp_path / "broken.npz").write_bytes((tmp_path / "parts.npz").read_bytes()[:500])
    with pytest.raises(BadInput, match="does not hold features"):
        features.read(tmp_path / "broken.npz")


def made_up(n: int, seed: int) -> tuple[Compositions, Known]:
    """Sulfides are in group 5, oxides in group 50; a pattern's features are its composition's shares."""
    rng = np.random.default_rng(seed)
    metals = ("Fe", "Ni", "Zn", "Cu", "Mg")
    compositions, groups, feature = [], [], []
    for _ in range(n):
        metal, anion = rng.integers(len(metals)), rng.integers(2)
        amount = float(rng.integers(1, 5))
        compositions.append(Composition.of_amounts({metals[metal]: amount, "SO"[anion]: 2.0}))
        groups.append((4, 49)[anion])
        feature.append([*np.eye(5)[metal], *np.eye(2)[anion], amount, *rng.normal(size=4)])
    pool = Compositions(chemistry(compositions), torch.tensor(groups))
    rows = torch.arange(n)
    return pool, Known(torch.tensor(np.array(feature), dtype=torch.float32), pool.group, rows)


def test_a_head_learns_groups_and_what_belongs_together():
    pool, known = made_up(600, 0)
    fresh, unseen = made_up(300, 1)
    settings = CompositionTraining(steps=250, match_steps=250, batch=64, lr=5e-3, network=SMALL)
    losses = []
    head = train_groups(pool, settings, lambda step, loss: losses.append(loss))
    assert len(losses) == 250
    said = head.groups(fresh.take(torch.arange(300), torch.ones(300, dtype=torch.bool)))
    head = train_match(head, known, pool, settings)
    again = head.groups(fresh.take(torch.arange(300), torch.ones(300, dtype=torch.bool)))
    torch.testing.assert_close(again, said)  # groups stay as they are
    figures = held_out_figures(head, pool, fresh, unseen, fresh)
    assert figures["exact_top1"] > 0.99
    assert figures["elements_top1"] > 0.99
    assert figures["exact"] < 0.1 < figures["prior"]
    assert figures["exact_match_auc"] > 0.7  # 0.5 by chance; one in forty exchanged ones is the same
    again = train_groups(pool, settings)
    torch.testing.assert_close(again.group.weight, head.group.weight)


def test_batchesby_richness_say_what_one_batch_says():
    elements = ("Na", "Cl", "O", "S", "Fe", "Ni", "Zn")
    rng = np.random.default_rng(0)
    rich = [Composition.of_amounts(dict.fromkeys(elements[: rng.integers(1, 8)], 1.0)) for _ in range(40)]
    given = chemistry([*rich, Composition.of_formula("KCl")])
    head = CompositionHead(SMALL).eval()
    torch.nn.init.normal_(head.group.weight)
    torch.testing.assert_close(by_richness(head, given), head.groups(given))


def test_the_verb_puts_a_head_beside_a_checkpoint(tmp_path, corpus, random_checkpoint):
    card = tmp_path / "tiny.json"
    for ending in (".json", ".safetensors"):
        card.with_suffix(ending).write_bytes(random_checkpoint.with_suffix(ending).read_bytes())
    arguments = ["composition", "--checkpoint", str(card), "--corpus", str(corpus), "--work", str(tmp_path)]
    few = ["--patterns", "256", "--held-out", "256", "--steps", "5", "--match-steps", "5"]
    before = card.read_bytes()
    bad = CliRunner().invoke(app, [*arguments, *few, "--index", str(tmp_path / "absent.parquet")])
    assert isinstance(bad.exception, BadInput)
    bad = CliRunner().invoke(app, [*arguments, *few, "--data", str(tmp_path / "absent")])
    assert isinstance(bad.exception, BadInput)
    assert not (tmp_path / "groups.safetensors").exists()  # said before anything is trained
    assert card.read_bytes() == before
    done = CliRunner().invoke(app, [*arguments, *few])
    assert done.exit_code == 0, done.output
    about = read_card(card).composition
    assert about is not None
    assert about.held_out["exact"] > 0
    assert about.calibrated_on == "nothing: defaults"
    assert Classifier.load(card).composition is not None
    assert about.trust is not None
    packed = Corpus.load(corpus)
    assert about.known_entries == len(packed)  # all are looked up, a judge without its own entry
    assert about.held_out["entries"] == (packed.split == 1).sum()
    assert np.isfinite(about.held_out["entries_exact"])
    groups = (tmp_path / "groups.safetensors").read_bytes()
    assert CliRunner().invoke(app, [*arguments, *few]).exit_code == 0
    assert (tmp_path / "groups.safetensors").read_bytes() == groups  # not trained again
    (tmp_path / "groups.safetensors").write_bytes(groups[:100])
    damaged = CliRunner().invoke(app, [*arguments, *few])
    assert isinstance(damaged.exception, BadInput)
    assert "damaged" in str(damaged.exception)
