"""`eg-agent schema`: the published JSON schemas of the values that eg-agent writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from eg_agent.errors import BadInput

#: Names of the published values.
NAMES = ("identification", "decision", "pattern", "posterior", "evidence")


def schema(
    name: Annotated[
        str | None, typer.Argument(help=f"One of {', '.join(NAMES)}; all of them when left out.")
    ] = None,
    write: Annotated[
        Path | None, typer.Option(help="Write NAME.json files into this folder instead of printing.")
    ] = None,
) -> None:
    """Print the JSON schema (draft 2020-12) that identifications, decisions and the rest validate against."""
    if name is not None and name not in NAMES:
        raise BadInput(f"there is no schema {name!r}: one of {', '.join(NAMES)}.")
    chosen = [name] if name else list(NAMES)
    if write is not None:
        if not write.is_dir():
            raise BadInput(f"{write} is not a folder: make it first.")
        from eg_agent.model.checkpoint import write_together

        write_together({write / f"{each}.json": schema_text(each).encode() for each in chosen})
        return
    if name:
        typer.echo(schema_text(name), nl=False)
    else:
        typer.echo(json.dumps({each: value_schema(each) for each in chosen}, indent=2))


def value_schema(name: str) -> dict[str, Any]:
    """The JSON schema of a published value."""
    from eg_agent.decide import Decision
    from eg_agent.identify import Identification
    from eg_agent.model.posterior import Posterior
    from eg_agent.patterns.pattern import Pattern
    from eg_agent.values import schema as schema_of
    from eg_agent.verify.evidence import Evidence

    values: dict[str, type[Any]] = {
        "identification": Identification,
        "decision": Decision,
        "pattern": Pattern,
        "posterior": Posterior,
        "evidence": Evidence,
    }
    return schema_of(values[name])


def schema_text(name: str) -> str:
    """The schema of a published value as it is written to a file: indented, keys in order, one newline."""
    return json.dumps(value_schema(name), indent=2) + "\n"
