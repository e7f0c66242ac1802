"""The light client writes what Tiled's own reads, and loads none of what that loads."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from tiled.client import from_uri
from tiled.client.utils import ClientError

from eg_agent.records.light_client import connect_lightly, write_small_array

PROGRAM = """
import sys
import numpy as np
from eg_agent.records.light_client import connect_lightly, write_small_array
here = connect_lightly(sys.argv[1]).create_container(sys.argv[2])
write_small_array(here, "values", np.arange(99.0), ["extinction_group"])
here["values"]
heavy = {"dask", "numba", "pandas", "xarray", "torch"} & set(sys.modules)
sys.exit(f"loaded {heavy}" if heavy else 0)
"""


def test_what_it_writes_is_read_by_tileds_own_and_nothing_heavy_is_loaded(tiled_uri):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tiled_uri, "written-lightly"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-500:]
    array = from_uri(tiled_uri)["written-lightly", "values"]
    np.testing.assert_array_equal(array.read(), np.arange(99.0))
    assert array.structure().dims == ("extinction_group",)


def test_a_taken_key_is_said_and_its_numbers_can_be_replaced(tiled_uri):
    here = connect_lightly(from_uri(tiled_uri)).create_container("replaced-lightly")
    write_small_array(here, "values", np.zeros(5), ["extinction_group"])
    with pytest.raises(ClientError) as refused:
        write_small_array(here, "values", np.ones(5), ["extinction_group"])
    assert refused.value.response.status_code == 409
    here["values"].write(np.ones(5))
    np.testing.assert_array_equal(from_uri(tiled_uri)["replaced-lightly", "values"].read(), np.ones(5))
