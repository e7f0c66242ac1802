"""An identifier that is never sure, so that a shift measures every sample as often as its limits allow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from beamline import FastIdentifier

from eg_agent.identify import Identification
from eg_agent.patterns import Pattern


class Patient(FastIdentifier):
    """Undecided between two groups, whatever was counted; counting longer always promises enough."""

    def identify(self, pattern: Pattern, cell: Any = None) -> Identification:
        import numpy as np

        found = super().identify(pattern, cell)
        assert found.log_probability is not None
        log_p = np.full(99, np.log(1e-6))
        log_p[6] = log_p[7] = np.log(0.5)
        log_p -= np.log(np.exp(log_p).sum())
        settle = found.would_settle
        if not settle:
            weak = super().identify(replace(pattern, intensity=np.zeros_like(pattern.intensity)), cell)
            settle = weak.would_settle
        return replace(
            found, verdict="undecided", log_probability=log_p, evidence_only=log_p, would_settle=settle
        )
