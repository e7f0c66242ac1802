"""From a pattern and a cell to the evidence of every extinction group: one fit, then linear algebra."""

from eg_agent.verify.evidence import CandidateEvidence, DecidingReflection, Evidence, FitCurve
from eg_agent.verify.settings import VerifySettings
from eg_agent.verify.verifier import no_cell, verify

__all__ = [
    "CandidateEvidence",
    "DecidingReflection",
    "Evidence",
    "FitCurve",
    "VerifySettings",
    "no_cell",
    "verify",
]
