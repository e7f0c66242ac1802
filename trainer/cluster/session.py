"""Connecting to Ray: what training shares with the archive (`eg_agent.ray_session`)."""

from __future__ import annotations

from eg_agent.ray_session import ANSWER_SECONDS, OBJECT_STORE, QUIET, check_address, connected, require_ray

__all__ = ["ANSWER_SECONDS", "OBJECT_STORE", "QUIET", "check_address", "connected", "require_ray"]
