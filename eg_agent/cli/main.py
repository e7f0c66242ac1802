"""`eg-agent`: one file a verb; this one only collects them and turns user errors into one line."""

from __future__ import annotations

import typer

from eg_agent.cli.archive import archive
from eg_agent.cli.decisions import decisions
from eg_agent.cli.demo import demo
from eg_agent.cli.doctor import doctor
from eg_agent.cli.groups import groups
from eg_agent.cli.identify import identify
from eg_agent.cli.index import index
from eg_agent.cli.run import run as run_loop
from eg_agent.cli.schema import schema
from eg_agent.cli.verify import verify
from eg_agent.cli.watch import watch
from eg_agent.reporting import reported

app = typer.Typer(
    name="eg-agent",
    help="Symmetry of a powder sample while it is measured, and what to measure next.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(archive)
app.command()(demo)
app.command()(doctor)
app.command()(groups)
app.command()(identify)
app.command()(index)
app.command(name="run")(run_loop)
app.command()(schema)
app.command()(verify)
app.command()(watch)
app.add_typer(decisions, name="decisions")


def run() -> None:
    """Entry point."""
    reported(app, "eg-agent")


if __name__ == "__main__":
    run()
