"""How-to pages as programs: their blocks are run as they stand, with the addresses of this machine."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from servers import BIN, ROOT, Server


class Page:
    """A page and what stands for its names here; every one of them must stand in the page.

    environment: further variables of the shell that its commands are run in.
    """

    def __init__(self, name: str, here: Mapping[str, str], environment: Mapping[str, str] | None = None):
        self.path = ROOT / "docs" / "how-to" / f"{name}.md"
        text = self.path.read_text()
        missing = [theirs for theirs in here if theirs not in text]
        assert not missing, f"{self.path.name} does not say {missing}"
        self._here = dict(here)
        self._blocks = re.findall(r"```(\w+)\n(.*?)```", text, re.S)
        self._environment = dict(environment or {})
        self.exports = True  #: whether commands see what the page exports

    def code(self, holding: str) -> str:
        """The one block of Python that holds a word, with the names of this machine."""
        (found,) = (body for kind, body in self._blocks if kind == "python" and holding in body)
        return self.put(found)

    def put(self, text: str) -> str:
        """The text with this machine's names, the longest first."""
        for theirs in sorted(self._here, key=len, reverse=True):
            text = text.replace(theirs, self._here[theirs])
        return text

    def printed(self, holding: str, **names: Any) -> str:
        """What a block of Python prints."""
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(self.code(holding), self.path.name, "exec"), dict(names))
        return said.getvalue()

    def commands(self) -> list[str]:
        """The lines of the shell, with what they go on in joined to them and without comments."""
        found = []
        for kind, body in self._blocks:
            if kind == "bash":
                for line in body.replace("\\\n", " ").splitlines():
                    line = re.split(r"\s#\s", line)[0].strip()
                    if line:
                        found.append(self.put(line))
        return found

    def command(self, beginning: str) -> str:
        """The one command that begins so."""
        found = [line for line in self.commands() if line.startswith(beginning)]
        assert len(found) == 1, (beginning, found)
        return found[0]

    def environment(self, beginning: str) -> dict[str, str]:
        """What the page exports above the command that begins so, beside what was given."""
        exported = {}
        for line in self.commands() if self.exports else ():
            if line.startswith(beginning):
                break
            if line.startswith("export "):
                exported.update(word.split("=", 1) for word in shlex.split(line)[1:])
        return {"PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]), **exported, **self._environment}

    def run(self, beginning: str, timeout: float = 900.0) -> subprocess.CompletedProcess[str]:
        """Run the one command that begins so to its end."""
        return subprocess.run(
            ["bash", "-c", self.command(beginning)],
            cwd=ROOT,
            env={**os.environ, **self.environment(beginning)},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )


class Started(Server):
    """A command of a page that goes on until it is ended. more: options that the page need not say."""

    def __init__(
        self, folder: Path, page: Page, beginning: str, ready: Callable[[], bool], more: str = ""
    ) -> None:
        super().__init__(folder)
        self.name = beginning
        self._command = f"exec {page.command(beginning)} {more}"
        self._environment = page.environment(beginning)
        self._ready = ready

    def command(self) -> list[str]:
        return ["bash", "-c", self._command]

    def environment(self) -> dict[str, str]:
        return self._environment

    def cwd(self) -> Path:
        return ROOT

    def ready(self) -> bool:
        return self._ready()
