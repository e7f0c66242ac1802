"""An embedded Tiled that many read from at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from stored import write
from tiled.client import from_uri

from eg_agent.patterns import Pattern, Radiation
from eg_agent.records import EmbeddedTiled
from eg_agent.records.runs import Runs

READERS, READS = 6, 25


@pytest.mark.slow
def test_many_readers_at_once_all_get_their_pattern(tmp_path) -> None:
    """DuckDB bears no two requests on one connection: reads failed, and at last the server died."""
    rng = np.random.default_rng(2)
    two_theta = np.round(np.arange(10.0, 80.0, 0.05), 6)
    patterns = [
        Pattern(two_theta, rng.poisson(50.0, two_theta.size).astype(float), Radiation(1.54))
        for _ in range(READERS)
    ]
    with EmbeddedTiled(tmp_path / "tiled") as tiled:
        client = from_uri(tiled.uri)
        uids = [write(client, pattern, sample=str(i)) for i, pattern in enumerate(patterns)]

        def read(number: int) -> int:
            runs = Runs(tiled.uri)
            head = runs.head(uids[number])
            assert head is not None
            same = [
                np.array_equal(runs.pattern(head).intensity, patterns[number].intensity) for _ in range(READS)
            ]
            return sum(same)

        with ThreadPoolExecutor(READERS) as pool:
            assert list(pool.map(read, range(READERS))) == [READS] * READERS
