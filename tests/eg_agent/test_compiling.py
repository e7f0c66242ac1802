"""The word of warning before kernels are compiled: printed when numba's cache does not hold them."""

from __future__ import annotations

import importlib.util
import os

from eg_agent.compiling import NOTICE, is_compiled, notice

SOURCE = """
import numba

@numba.njit(cache=True)
def twice(x):
    return 2 * x
"""


def test_said_once_and_again_when_the_source_has_changed(tmp_path, capsys):
    path = tmp_path / "kernels.py"
    path.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("kernels", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    notice(module.twice)
    assert capsys.readouterr().err == f"{NOTICE}\n"
    assert module.twice(2) == 4
    assert is_compiled(module.twice)
    notice(module.twice)
    assert capsys.readouterr().err == ""
    later = path.stat().st_mtime + 3600
    os.utime(path, (later, later))
    assert not is_compiled(module.twice)
