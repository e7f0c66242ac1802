"""From a pattern to an identification: the network's posterior fused with the verifier's evidence.

`Identifier` answers for a pattern or a file; the value types are `Identification`,
`GroupProbability`, `ProposedCell`, `Measured`, `Settle` and `Provenance`. Importing this loads no torch: the
network comes with the first `Identifier`.
"""

from typing import TYPE_CHECKING, Any

from eg_agent.identify.identification import (
    GroupProbability,
    Identification,
    Measured,
    ProposedCell,
    Provenance,
    Settle,
    Verdict,
)
from eg_agent.identify.settings import IdentifySettings

if TYPE_CHECKING:
    from eg_agent.identify.identifier import Identifier

__all__ = [
    "GroupProbability",
    "Identification",
    "Identifier",
    "IdentifySettings",
    "Measured",
    "ProposedCell",
    "Provenance",
    "Settle",
    "Verdict",
]


def __getattr__(name: str) -> Any:
    if name == "Identifier":
        from eg_agent.identify.identifier import Identifier

        return Identifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
