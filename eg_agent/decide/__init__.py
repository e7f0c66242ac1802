"""What to measure next: expected information gain against time, inside limits that are never left."""

from eg_agent.decide.decider import Decider
from eg_agent.decide.decision import ActionName, Decision
from eg_agent.decide.limits import ENDING, MEASURING, Costs, Limits
from eg_agent.decide.settings import DecideSettings
from eg_agent.decide.state import Look, State

__all__ = [
    "ENDING",
    "MEASURING",
    "ActionName",
    "Costs",
    "DecideSettings",
    "Decider",
    "Decision",
    "Limits",
    "Look",
    "State",
]
