"""`eg-agent schema`, and that the published files are what the code writes."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner

from eg_agent.cli.main import app
from eg_agent.cli.schema import NAMES, schema_text
from eg_agent.errors import BadInput

PUBLISHED = Path(__file__).resolve().parents[3] / "docs" / "reference" / "schemas"


@pytest.mark.parametrize("name", NAMES)
def test_the_published_schema_is_up_to_date(name: str) -> None:
    """When this fails: `eg-agent schema --write docs/reference/schemas`, and look at what changed."""
    assert (PUBLISHED / f"{name}.json").read_text(encoding="utf-8") == schema_text(name)


@pytest.mark.parametrize("name", NAMES)
def test_each_is_a_schema_that_refuses_what_it_should(name: str) -> None:
    printed = json.loads(CliRunner().invoke(app, ["schema", name]).stdout)
    jsonschema.Draft202012Validator.check_schema(printed)
    assert printed["description"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"unknown": 1}, printed)


def test_all_at_once_and_into_a_folder(tmp_path: Path) -> None:
    assert list(json.loads(CliRunner().invoke(app, ["schema"]).stdout)) == list(NAMES)
    result = CliRunner().invoke(app, ["schema", "--write", str(tmp_path)])
    assert result.exit_code == 0
    assert sorted(p.stem for p in tmp_path.iterdir()) == sorted(NAMES)


@pytest.mark.parametrize("words", [["nonsense"], ["--write", "/no/such/folder"]])
def test_wrong_usage_says_so(words: list[str]) -> None:
    assert isinstance(CliRunner().invoke(app, ["schema", *words]).exception, BadInput)
