"""`Environment`: whether the worker's environment can be used; opened or recovered where settings say so."""

from __future__ import annotations

import logging
import math
import time

from eg_agent.queue.manager import QueueManager, QueueRefused, QueueView
from eg_agent.queue.settings import QueueSettings
from eg_agent.queue.share import SharedLedger
from eg_agent.queue.state import LoopState
from eg_agent.records.ledger import NoteRow

_log = logging.getLogger(__name__)

#: Manager, environment and RunEngine of a plan that is over, which for a moment is no fault.
_OVER = ("executing_queue", "idle", "idle")
#: What such a manager executes where it does not say.
_UNKNOWN = "a plan"


class Environment:
    """The environment behind one RE Manager.

    start_owed: whether the queue stands still by what this agent did (another environment, an item taken
    out) or by a failure that it may go on after: then the agent starts it, whose item ever is first.
    """

    def __init__(
        self, settings: QueueSettings, manager: QueueManager, ledger: SharedLedger, state: LoopState
    ) -> None:
        self.start_owed = False
        self._settings = settings
        self._manager = manager
        self._ledger = ledger
        self._state = state
        #: When an environment was asked to go (True) or to come (False): one does not wait for the other.
        self._asked = {True: -math.inf, False: -math.inf}
        self._asked_worker = 0.0
        self._silent_since = 0.0
        self._over: tuple[str, float] = ("", 0.0)

    def ready(self, view: QueueView) -> bool:
        """Whether the environment is there and works; else what is done about it, or who has to."""
        status, policy = view.status, self._settings
        fault = self._fault(view) if status.environment_exists else "the environment is closed"
        if not fault:
            return True
        if not status.environment_exists and policy.environment == "wait":
            self._state.waiting["environment"] = (
                "the environment of the RE Manager is closed: open it, or set [queue] environment"
            )
            return False
        if status.manager in ("creating_environment", "destroying_environment", "closing_environment"):
            self._state.waiting["environment"] = f"the RE Manager is {status.manager.replace('_', ' ')}"
            return False
        exists = status.environment_exists
        if time.monotonic() - self._asked[exists] < (3.0 if exists else 10.0):
            self._state.waiting["environment"] = "the environment is being opened"
            return False
        self._asked[exists] = time.monotonic()
        done = "destroyed" if exists else "opened"
        _log.warning("%s: the environment is %s", fault, done)
        self._ledger.write(NoteRow("recovering", f"{fault}: environment {done}"))
        try:
            if exists:
                self._manager.destroy_environment()
                self._silent_since, self._over = 0.0, ("", 0.0)
            else:
                self._manager.open_environment()
            self.start_owed = True
        except QueueRefused as error:
            self._state.waiting["environment"] = str(error)
        return False

    def open_again(self, view: QueueView) -> None:
        """Close an environment whose plans the manager does not know; `ready` opens it again.

        On a busy host the manager may miss the list that its worker sends when it is opened, and then it
        refuses every plan until the next opening.
        """
        if self._settings.environment != "recover" or view.status.manager != "idle":
            return
        if time.monotonic() - self._asked[True] < 60.0 or self._manager.knows_plans():
            return
        self._asked[True] = time.monotonic()
        _log.warning("the manager knows no plans of its open environment: it is closed, and opened again")
        self._ledger.write(
            NoteRow("recovering", "the manager knew no plans: its environment is opened again")
        )
        self._manager.close_environment()
        self.start_owed = True

    def _fault(self, view: QueueView) -> str:
        """What calls for another environment in place of the open one; "" for nothing."""
        return "the worker does not answer" if self._dead(view) else self._lost(view)

    def _dead(self, view: QueueView) -> bool:
        """Whether the worker has not answered for `dead_after` seconds, and may be ended for that.

        A plan that keeps its process busy still answers: a thread of the worker does.
        """
        policy, now = self._settings, time.monotonic()
        if policy.environment != "recover" or view.status.environment in ("initializing", "closing"):
            return False
        if now - self._asked_worker < min(2.0, policy.dead_after / 4):
            return self._silent_since > 0 and now - self._silent_since > policy.dead_after
        self._asked_worker = now
        if self._manager.worker_answers():
            self._silent_since = 0.0
            return False
        self._silent_since = self._silent_since or now
        silent = now - self._silent_since
        self._state.waiting["environment"] = f"the worker has not answered for {silent:.0f} s"
        return silent > policy.dead_after

    def _lost(self, view: QueueView) -> str:
        """The fault of a manager that waits for a plan which its worker has long ended; "" where it does not.

        A manager whose Redis dies while it writes down that a plan ended never comes back to that: it says
        that it executes the plan and starts nothing, for good. Another environment frees it.
        """
        status, policy, now = view.status, self._settings, time.monotonic()
        # no running item is lost in the middle, too: taken from Redis, and not in the history yet
        item = _UNKNOWN if view.running is None else f"item {view.running['item_uid'][:8]}"
        if (status.manager, status.environment, status.run_engine) != _OVER:
            self._over = ("", 0.0)
            return ""
        if self._over[0] != item:
            self._over = (item, now)
        idle = now - self._over[1]
        if idle <= policy.dead_after:
            return ""
        if policy.environment == "recover":
            return "the manager has lost the end of its plan"
        self._state.waiting["environment"] = (
            f"the RE Manager says that it executes {item}, and its worker has been idle for "
            f"{idle:.0f} s: destroy its environment and open it, or set [queue] environment"
        )
        return ""
