"""What to measure next: expected information gain against time, inside limits that are never left."""

from eg_agent.decide.decider import Decider
from eg_agent.decide.decision import ActionName, Decision
from eg_agent.decide.interleaving import Interleaving
from eg_agent.decide.limits import ENDING, MEASURING, USUAL, Cost, Costs, Limits
from eg_agent.decide.opening import opening
from eg_agent.decide.settings import DecideSettings
from eg_agent.decide.state import Asked, Look, State
from eg_agent.decide.turns import whose_turn

__all__ = [
    "ENDING",
    "MEASURING",
    "USUAL",
    "ActionName",
    "Asked",
    "Cost",
    "Costs",
    "DecideSettings",
    "Decider",
    "Decision",
    "Interleaving",
    "Limits",
    "Look",
    "State",
    "opening",
    "whose_turn",
]
