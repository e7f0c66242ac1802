"""From a pattern to an identification: the network's posterior fused with the verifier's evidence.

`Identifier` answers for a pattern or a file; the value types are `Identification`,
`GroupProbability`, `Measured`, `Settle` and `Provenance`. Importing this loads no torch: the network
comes with the first `Identifier`.
"""

from eg_agent.identify.identification import (
    GroupProbability,
    Identification,
    Measured,
    Provenance,
    Settle,
    Verdict,
)

__all__ = ["GroupProbability", "Identification", "Measured", "Provenance", "Settle", "Verdict"]
