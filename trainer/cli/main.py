"""`eg-train`: one file a verb; this one only collects them and turns user errors into one line."""

from __future__ import annotations

import typer

from eg_agent.reporting import reported
from trainer.cli.absences import absences
from trainer.cli.benchmark import benchmark
from trainer.cli.calibrate import calibrate
from trainer.cli.card import card
from trainer.cli.composition import composition
from trainer.cli.export import export
from trainer.cli.fit import fit
from trainer.cli.lattices import lattices
from trainer.cli.library import library
from trainer.cli.prepare import prepare
from trainer.cli.reproduce import reproduce
from trainer.cli.retrain import promote, retrain
from trainer.cli.simulate import simulate
from trainer.cli.study import study
from trainer.cli.tune import tune
from trainer.cli.unseen import unseen
from trainer.cli.xxact import materials, multimodal

app = typer.Typer(
    name="eg-train",
    help="Make, judge and export checkpoints of the extinction-group network.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(prepare)
app.command()(simulate)
app.command()(fit)
app.command()(tune)
app.command()(export)
app.command()(calibrate)
app.command()(card)
app.command()(composition)
app.command()(benchmark)
app.command()(reproduce)
app.command()(retrain)
app.command()(promote)
app.command()(study)
app.command()(absences)
app.command()(lattices)
app.command()(library)
app.command()(unseen)
app.command()(materials)
app.command()(multimodal)


def run() -> None:
    """Entry point."""
    reported(app, "eg-train")


if __name__ == "__main__":
    run()
