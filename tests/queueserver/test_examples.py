"""The examples and the how-to pages: files that are read as they will be, commands that are understood."""

from __future__ import annotations

import re
import shlex

import pytest
import typer
import yaml
from servers import EXAMPLE, ROOT

from eg_agent.cli.main import app
from eg_agent.queue.settings import read_settings

PAGES = [ROOT / "docs" / "how-to" / f"{name}.md" for name in ("queue-server", "remote-tiled", "unattended")]


def commands() -> list[tuple[str, str]]:
    """Every `eg-agent ...` of the pages, the unit and the compose file, with where it stands."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.S):
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("eg-agent "):
                    found.append((page.name, line.partition("  #")[0]))
    for line in (EXAMPLE / "eg-agent.service").read_text().splitlines():
        if line.startswith(("ExecStart=", "ExecStartPre=")):
            found.append(("eg-agent.service", line.partition("=")[2].removeprefix("/opt/eg-agent/bin/")))
    agent = yaml.safe_load((EXAMPLE / "compose.yaml").read_text())["services"]["agent"]["command"]
    return [*found, ("compose.yaml", shlex.join(agent))]


@pytest.mark.parametrize(("where", "command"), commands())
def test_every_command_is_understood(where, command):
    words = shlex.split(command)[1:]
    group = typer.main.get_command(app)
    while words and words[0] in getattr(group, "commands", {}):
        group = group.commands[words.pop(0)]
    group.make_context("eg-agent", words)  # raises for an option that does not exist


def test_the_pages_hold_commands():
    assert {where for where, _ in commands()} >= {page.name for page in PAGES} - {"unattended.md"}


def test_the_shift_is_one():
    settings = read_settings(EXAMPLE / "shift.toml")
    assert settings.shift.samples
    assert set(settings.shift.cells) <= set(settings.shift.samples)


def test_tables_of_settings_in_the_pages_are_settings(tmp_path):
    for page in PAGES:
        for block in re.findall(r"```toml\n(.*?)```", page.read_text(), re.S):
            path = tmp_path / "shift.toml"
            path.write_text(f'[shift]\nname = "n"\n{block}')
            assert read_settings(path)


def test_the_agents_may_use_the_one_plan_and_nothing_else():
    groups = yaml.safe_load((EXAMPLE / "user_group_permissions.yaml").read_text())["user_groups"]
    assert groups["agents"]["allowed_plans"] == ["eg_measure"]
    assert groups["agents"]["allowed_functions"] == []
    assert read_settings(EXAMPLE / "shift.toml").queue.plan == "eg_measure"


def test_no_key_stands_in_an_example():
    for path in EXAMPLE.rglob("*"):
        if path.is_file() and path.suffix in (".yml", ".yaml", ".toml", ".service", ".py"):
            text = path.read_text()
            assert not re.search(r"api_key=\w", text), path
            assert not re.search(r"PASSWORD: *['\"]?[a-z0-9]{4,}", text), path
