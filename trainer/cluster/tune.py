"""`search`: Ray Tune over the dials that matter (learning rate, batch, weight decay, data mix), by ASHA.

Asynchronous successive halving (arXiv:1810.05934): of the trials that have come to a rung the best
third go on. The first trial is the configuration as it stands. All are judged on the same held-out
simulated patterns, never on measured ones.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console

from eg_agent.errors import BadInput
from eg_agent.model.checkpoint import write_atomically
from trainer.cluster.session import connected, require_ray
from trainer.cluster.storage import Storage, open_storage
from trainer.cluster.trials import ENDED, TABLE, Trials, in_words
from trainer.config import TrainConfig
from trainer.data import open_data

if TYPE_CHECKING:
    from trainer.cluster.trial import Dials

#: One trial of so many goes on from a rung to the next.
REDUCTION = 3
#: Rungs below the whole budget.
LOWER_RUNGS = 2


@dataclass(frozen=True)
class TuneRequest:
    """What is searched, how long, and where.

    trials: number of settings. patterns: budget of a trial that comes through. seed: of the settings.
    storage: folder or URL for the trials' states; none: OUT/ray. address: as of `Cluster`.
    threads: CPU threads of a trial, which is one process (with a GPU, where the cluster has one).
    """

    corpus: Path
    out: Path
    trials: int
    patterns: int
    address: str = "local"
    storage: str | None = None
    device: str = "auto"
    threads: int = 1
    seed: int = 0
    max_failures: int = 2


def rungs(patterns: int) -> tuple[int, ...]:
    """Patterns seen at which trials are compared: a ninth, a third and the whole of the budget."""
    return tuple(max(1, patterns // REDUCTION**k) for k in range(LOWER_RUNGS, -1, -1))


def search(config: TrainConfig, request: TuneRequest, console: Console | None = None) -> list[dict[str, Any]]:
    """Run (or go on with) the trials; returns the rows of OUT/trials.csv, best first.

    Raises BadInput when the corpus, Ray or the storage cannot be used, or OUT holds another search.
    """
    console = console or Console(highlight=False)
    if request.trials < 1 or request.patterns < config.batch * REDUCTION**LOWER_RUNGS:
        raise BadInput(
            f"--trials must be at least 1 and --patterns at least {config.batch * REDUCTION**LOWER_RUNGS}, "
            f"so that a batch of {config.batch} fits into the first rung."
        )
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # lines of ours instead of Tune's tables
    require_ray()
    open_data(request.corpus, config, torch.device("cpu"))  # a user's error is told before Ray starts
    storage = open_storage(request.storage or str(request.out / "ray"))
    asked = {"config": config.to_dict(), "trials": request.trials, "patterns": request.patterns}
    asked |= {"corpus": request.corpus.name, "seed": request.seed}
    _same_search(request.out, asked)
    with connected(request.address, cpus=request.threads):
        request.out.mkdir(parents=True, exist_ok=True)
        write_atomically(request.out / "tune.json", (json.dumps(asked, indent=1) + "\n").encode())
        results = _tuner(config, request, storage).fit()
    rows = Trials(request.out).rows()
    if not rows:
        lines = [line for error in results.errors for line in str(error).strip().splitlines()]
        raise BadInput(f"no trial came to a rung: {lines[-1] if lines else 'stopped before that'}.")
    if sum(row["status"] in ENDED for row in rows) < request.trials:
        console.print("stopped; the same command goes on from here.", soft_wrap=True)
    console.print(f"best of {len(rows)}, {in_words(rows[0])}; all in {request.out / TABLE}", soft_wrap=True)
    return rows


def _same_search(out: Path, asked: Mapping[str, Any]) -> None:
    try:
        before = json.loads((out / "tune.json").read_text("utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise BadInput(f"{out / 'tune.json'} cannot be read ({error}): give another --out.") from error
    if before != asked:
        raise BadInput(f"{out} holds another search: use the same options, or another --out.")


def _space(stand: Dials) -> dict[str, Any]:
    from ray import tune

    return {
        "lr": tune.loguniform(stand.lr / 5.0, stand.lr * 5.0),
        "batch": tune.choice([max(1, stand.batch // 2), stand.batch, stand.batch * 2]),
        "weight_decay": tune.loguniform(1e-4, 1e-1),
        "random_share": tune.uniform(0.02, 0.6),
    }


def _tuner(config: TrainConfig, request: TuneRequest, storage: Storage) -> Any:
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search import BasicVariantGenerator

    from trainer.cluster.teller import Teller
    from trainer.cluster.trial import Search, dials_of, trial

    gpu = request.device.startswith("cuda") or (
        request.device == "auto" and ray.cluster_resources().get("GPU", 0) > 0
    )
    steps = rungs(request.patterns)
    shared = Search(config, request.corpus.name, steps, request.device, request.threads)
    trainable = tune.with_resources(
        tune.with_parameters(trial, search=shared, corpus=request.corpus.read_bytes()),
        {"cpu": request.threads, **({"gpu": 1} if gpu else {})},
    )
    stand = dials_of(config)
    space = _space(stand)
    path = f"{storage.parent.rstrip('/')}/{storage.name}"
    if tune.Tuner.can_restore(path, storage_filesystem=storage.filesystem):
        return tune.Tuner.restore(
            path,
            trainable,
            resume_errored=True,
            param_space=space,
            storage_filesystem=storage.filesystem,
        )
    scheduler = ASHAScheduler(
        time_attr="seen", max_t=request.patterns, grace_period=steps[0], reduction_factor=REDUCTION
    )
    return tune.Tuner(
        trainable,
        param_space=space,
        tune_config=tune.TuneConfig(
            metric="bits_over_prior",
            mode="max",
            num_samples=request.trials,
            scheduler=scheduler,
            search_alg=BasicVariantGenerator(points_to_evaluate=[asdict(stand)], random_state=request.seed),
        ),
        run_config=tune.RunConfig(
            name=storage.name,
            storage_path=storage.parent,
            storage_filesystem=storage.filesystem,
            failure_config=tune.FailureConfig(max_failures=request.max_failures),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
            callbacks=[Teller(request.out, request.patterns)],
            verbose=0,
        ),
    )
