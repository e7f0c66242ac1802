"""Says how trials go while Tune runs them, on the console and in the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray.tune import Callback
from rich.console import Console

from trainer.cluster.trials import Trials, in_words


class Teller(Callback):
    """A line and a row at every report. Holds only the search's folder: Tune pickles its callbacks."""

    def __init__(self, out: Path) -> None:
        self._out = out.resolve()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial has come to a rung."""
        if "seen" in result:
            row = Trials(self._out).put(trial.trial_id, trial.config, result, "running")
            Console(highlight=False).print(in_words(row), soft_wrap=True)
