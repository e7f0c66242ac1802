"""A facility of real servers for the tests of the closed loop, one a session: it takes a minute to start."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
from facility import Facility, missing, shift_name, toml


@cache
def samples_of_the_changer() -> list[Any]:
    """What the startup profile has in its simulated changer by default."""
    from simulators import draw

    return list(draw(1, 7))


@pytest.fixture(scope="session")
def facility(tmp_path_factory) -> Iterator[Facility]:
    """Redis, PostgreSQL, Tiled and RE Manager with its environment open."""
    if why := missing():
        pytest.skip(why)
    # A test run that is ended from outside must not leave servers behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A thousandth of a second a simulated one: what is killed while it measures is killed in the middle.
    environment = {"EG_AGENT_TIME_SCALE": "0.001"}
    with Facility(tmp_path_factory.mktemp("facility"), environment, secrets.token_hex(12)) as found:
        found.manager.open_environment()
        yield found


@pytest.fixture
def shift(facility) -> Callable[..., tuple[str, object]]:
    """Write a shift's settings: its name and its file."""

    def write(samples: int = 4, more: str = "", **values: object) -> tuple[str, object]:
        name = shift_name()
        used = samples_of_the_changer()[:samples]
        cells = "".join(
            f"{toml(s.crystal.name)} = {[float(v) for v in s.cell]}\n"
            for s in used
            if values.get("cells", True)
        )
        text = (
            f'[shift]\nname = "{name}"\nsamples = {toml([s.crystal.name for s in used])}\n'
            f"two_theta = {list(values.get('two_theta', (5.0, 90.0)))}\nstep = 0.02\n"
            f"seconds_per_point = {values.get('seconds', 0.2)}\n"
            f"[shift.cells]\n{cells}"
            "[limits]\ntwo_theta = [5.0, 90.0]\n"
            "max_seconds_per_sample = 500000.0\nmax_total_seconds = 9000000.0\n"
            f"max_repeats = {values.get('repeats', 3)}\n"
            "[decide]\nexposures = [0.5]\nsmallest_gain = 0.0\n"
            f"{more}"
        )
        return name, facility.settings(text, f"{name}.toml")

    return write
