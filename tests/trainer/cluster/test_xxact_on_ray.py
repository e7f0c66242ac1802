"""XxaCT-NN on two real Ray workers: the same network as in one process, also from a pretrained one."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pandas as pd
import pytest
import torch
from rich.console import Console

from eg_agent.model.xxact import tiny
from trainer.cluster.launcher import Cluster
from trainer.context import LocalContext
from trainer.fit import Request
from trainer.multimodal.materials import read_materials
from trainer.multimodal.xxact_config import Weights, XxactTrain
from trainer.multimodal.xxact_data import open_xxact
from trainer.multimodal.xxact_loop import train_xxact
from trainer.state import read_index, read_tensors

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def test_two_workers_train_what_one_process_does(structures, tmp_path):
    from trainer.cluster.xxact import fit_xxact_on_ray

    table = tmp_path / "some.parquet"
    pd.read_parquet(structures / "materials_project.parquet").head(200).to_parquet(table)
    materials = tmp_path / "materials.npz"
    read_materials(table).save(materials)
    # Without dropout, and with labels of all rows, a batch is the same however it is shared; losses that
    # count unknown labels are not, so that the crystal system alone is trained.
    config = XxactTrain(
        "a",
        network=replace(tiny(), dropout=0.0),
        weights=Weights(energy=0.0, gap=0.0),
        samples=512,
        batch=32,
        judged_every=256,
    )
    cpu = torch.device("cpu")
    masked = replace(config, name="m", objective="masked", samples=64)
    first = train_xxact(masked, open_xxact(materials, masked, cpu), LocalContext(cpu), tmp_path / "m")
    assert first.step == 2
    begin = tmp_path / "m" / "state"
    data = open_xxact(materials, config, cpu)
    alone = train_xxact(config, data, LocalContext(cpu), tmp_path / "alone", begin=begin)
    screen = StringIO()
    request = Request(materials, tmp_path / "both", device="cpu")
    found = fit_xxact_on_ray(
        config, request, Cluster("local", (2, 2)), begin, Console(file=screen, width=200)
    )
    assert found["step"] == alone.step == 16
    assert not found["interrupted"]
    state = tmp_path / "both" / "state"
    assert [row["samples"] for row in read_index(state)["curve"]] == [256, 512]
    assert "of 512 samples" in screen.getvalue()
    mine, theirs = alone.network.state_dict(), read_tensors(state)
    begun = read_tensors(begin)
    moved, apart = (
        torch.cat([(v - other[f"network.{n}"]).flatten() for n, v in mine.items()]).norm()
        for other in (begun, theirs)
    )
    assert apart < 0.2 * moved  # bf16 products of halves of a batch round differently
