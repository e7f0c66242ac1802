"""What importing costs: the heavy modules load where they are used, and not before."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "ray", "bluesky", "ophyd", "tiled", "matplotlib", "pandas", "pyxtal", "scipy")


def _loaded(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert _loaded("import eg_agent") == set()


@pytest.mark.parametrize(
    "package", ["symmetry", "patterns", "identify", "decide", "records", "agent", "verify"]
)
def test_packages_load_heavy_modules_only_where_they_are_used(package: str) -> None:
    never = {"torch", "ray", "matplotlib", "pandas", "pyxtal", "tiled"}
    assert not _loaded(f"import eg_agent.{package}") & never


def test_this_test_can_fail() -> None:
    assert "scipy" in _loaded("import scipy")


@pytest.mark.parametrize("absent", ["ray", "pyxtal", "pyarrow", "pandas"])
def test_the_command_line_starts_without_the_training_extra(absent: str) -> None:
    # None in sys.modules makes every import of that name raise ImportError.
    code = (
        f"import sys; sys.modules[{absent!r}] = None; sys.argv[1:] = ['--help']; "
        "from eg_agent.cli.main import run; run()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "identify" in done.stdout
