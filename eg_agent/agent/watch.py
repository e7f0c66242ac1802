"""`Watch`: an agent on somebody else's scans, from another process or host, through Tiled alone."""

from __future__ import annotations

import time
from typing import Any

from eg_agent.agent.agent import Agent
from eg_agent.agent.answer import Answer
from eg_agent.decide.limits import MEASURING
from eg_agent.records.catalog import Follower
from eg_agent.records.ledger import NoteRow
from eg_agent.records.tiled_client import redacted

#: Seconds back from which unanswered runs are taken up after a restart: a week.
_FARTHEST = 7 * 86_400.0


class Watch:
    """Follows a Tiled catalog and has every run in it identified; nothing is moved or written there.

    tiled: URI; its key in it or in $TILED_API_KEY. since: seconds since 1970 from which runs that have
        ended are identified, too. None: from now; after a restart, from when this folder's watching
        began (a week at most), so that nothing is lost while the agent was down.
    poll: seconds between two looks at the catalog where Tiled's stream says nothing.
    settings: of the `Agent`; mode "propose" lets a person approve or refuse what it would measure, "act"
        is no mode of a watcher.
    """

    def __init__(self, tiled: str, *, since: float | None = None, poll: float = 5.0, **settings: Any) -> None:
        self.agent = Agent(tiled, write=False, **{"tiled_wait": 10.0, **settings})
        self.agent.listen(self._propose)
        began = next(
            (
                row.time
                for row in self.agent.ledger.rows()
                if isinstance(row, NoteRow) and row.what == "watching"
            ),
            None,
        )
        now = time.time()
        if since is None:
            since = now if began is None else max(began, now - _FARTHEST)
        self.agent.note("watching", redacted(tiled))
        live = settings.get("live", 2.0)
        self.follower = Follower(tiled, self, since=since, poll=poll, growth=live or poll, say=self._said)

    def __enter__(self) -> Watch:
        self.follower.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop following; answer what waits, then end the agent."""
        self.follower.close()
        self.agent.close()

    # What the follower tells.

    def began(self, uid: str, start: Any) -> None:
        """A run has begun."""
        if not self.agent.answered(uid):
            self.agent.watch_began(uid, start)

    def saw(self, uid: str) -> None:
        """An open run has new data."""
        self.agent.watch_saw(uid)

    def ended(self, uid: str, start: Any, stop: Any) -> None:
        """A run has ended."""
        self.agent.watch_ended(uid, start, stop)

    def _said(self, text: str) -> None:
        self.agent.note("tiled", text)
        self.agent.say(text)

    def _propose(self, answer: Answer) -> None:
        if answer.decision.mode == "propose" and answer.decision.action in MEASURING:
            self.agent.approval(answer.decision)
