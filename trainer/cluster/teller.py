"""Says how trials go while Tune runs them, on the console and in the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray.tune import Callback
from rich.console import Console

from trainer.cluster.trials import Trials, in_words


class Teller(Callback):
    """A line and a row at every report. Holds no open file: Tune pickles its callbacks.

    out: folder of the search. patterns: budget of a trial.
    """

    def __init__(self, out: Path, patterns: int) -> None:
        self._out, self._patterns = out.resolve(), patterns

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial has come to a rung."""
        if "seen" in result:
            row = Trials(self._out).put(trial.trial_id, trial.config, result, "running")
            Console(highlight=False).print(in_words(row), soft_wrap=True)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has come through, or was stopped at a rung."""
        result = trial.last_result
        status = "done" if result.get("seen", 0.0) >= self._patterns else "stopped"
        Trials(self._out).put(trial.trial_id, trial.config, result, status)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has failed more often than allowed."""
        if "seen" in trial.last_result:
            Trials(self._out).put(trial.trial_id, trial.config, trial.last_result, "failed")
