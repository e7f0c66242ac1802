"""`RedisBoard`: the board of a shift in Redis, for agents on several hosts.

Keys, all below `eg-agent:<group>:<shift>:`: `lease` (owner, expires), `fence` (the newest token), `runs`
(hash: run uid -> `claimed <token>` or `answered <decision id>`), `ledger` (stream of lines), `proposals` and
`verdicts` (hashes). Every write that must not come from an earlier holder is a script that compares the
token first; Redis runs a script as one step.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from eg_agent.errors import BadInput, MissingExtra
from eg_agent.queue.board import BoardAway, LeaseLost, Proposal, Verdict
from eg_agent.queue.work import parsed
from eg_agent.records.ledger import DecisionRow
from eg_agent.records.tiled_client import redacted
from eg_agent.values import from_json, to_json

#: lease, fence | owner, milliseconds, lowest token -> token, or 0 when another holds it
_ACQUIRE = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
if not holder then
  local fence = math.max(tonumber(redis.call('GET', KEYS[2]) or '0'), tonumber(ARGV[3])) + 1
  redis.call('SET', KEYS[2], fence)
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return tonumber(redis.call('GET', KEYS[2]))
"""

#: lease | owner, milliseconds -> 1 when it was still ours
_RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""

_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
"""

#: fence, runs | token, run -> -1 stale token, 0 answered, 1 claimed
_CLAIM = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
local found = redis.call('HGET', KEYS[2], ARGV[2])
if found and string.sub(found, 1, 8) == 'answered' then return 0 end
redis.call('HSET', KEYS[2], ARGV[2], 'claimed ' .. ARGV[1])
return 1
"""

#: fence, runs, ledger | token, line, id of the decision, runs... -> -1 stale token, 0 answered, 1 written
_PUBLISH = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
for i = 4, #ARGV do
  local found = redis.call('HGET', KEYS[2], ARGV[i])
  if found and string.sub(found, 1, 8) == 'answered' and found ~= 'answered ' .. ARGV[3] then return 0 end
end
for i = 4, #ARGV do redis.call('HSET', KEYS[2], ARGV[i], 'answered ' .. ARGV[3]) end
redis.call('XADD', KEYS[3], '*', 'line', ARGV[2])
return 1
"""


class AnsweredElsewhere(Exception):
    """A decision on a run that another agent answered: it does not count. `row` is the one refused."""

    def __init__(self, row: DecisionRow) -> None:
        super().__init__(f"another agent answered run {row.new_runs[-1][:8]} first")
        self.row = row


class RedisProposals:
    """Proposals and verdicts as hashes in Redis; whoever may write there may approve."""

    def __init__(self, url: str, group: str, shift: str) -> None:
        try:
            import redis
            from redis.exceptions import NoPermissionError
        except ImportError:
            raise MissingExtra("a board in Redis", "queue") from None
        self._errors = redis.RedisError
        self._denied = (redis.AuthenticationError, NoPermissionError)
        self._place = redacted(url).partition("?")[0]
        try:
            self._redis: Any = redis.Redis.from_url(
                url, decode_responses=True, socket_timeout=3.0, socket_connect_timeout=3.0
            )
        except ValueError:
            raise BadInput(
                f"{redacted(url)} is no URL of a Redis: give redis://HOST:6379 "
                "(with a password: in $EG_AGENT_REDIS)."
            ) from None
        self._prefix = f"eg-agent:{group}:{shift}:"

    def _key(self, name: str) -> str:
        return self._prefix + name

    @contextlib.contextmanager
    def _asking(self) -> Iterator[Any]:
        try:
            yield self._redis
        except self._denied as error:
            raise BoardAway(
                f"Redis at {self._place} refuses this account ({redacted(str(error))[:200]}): "
                "put the URL with the right password into $EG_AGENT_REDIS."
            ) from None
        except (self._errors, OSError) as error:
            raise BoardAway(
                f"Redis at {self._place} gives no answer ({type(error).__name__}: "
                f"{redacted(str(error))[:200]}): start it, or give its URL by --redis or $EG_AGENT_REDIS."
            ) from None

    def propose(self, proposal: Proposal) -> None:
        with self._asking() as store:
            store.hset(self._key("proposals"), proposal.decision.decision_id, to_json(proposal))

    def proposals(self) -> list[Proposal]:
        return self._all("proposals", Proposal)

    def settle(self, verdict: Verdict) -> None:
        with self._asking() as store:
            store.hset(self._key("verdicts"), verdict.decision_id, to_json(verdict))

    def verdicts(self) -> list[Verdict]:
        return self._all("verdicts", Verdict)

    def withdraw(self, decision_id: str) -> None:
        with self._asking() as store:
            store.hdel(self._key("proposals"), decision_id)
            store.hdel(self._key("verdicts"), decision_id)

    def _all(self, name: str, kind: type) -> list:
        with self._asking() as store:
            entries = store.hgetall(self._key(name))
        found = []
        for field, text in entries.items():
            try:
                found.append(from_json(kind, text))
            except (ValidationError, ValueError):
                with self._asking() as store:  # not one of ours: put aside, so that a person finds it
                    store.hset(self._key("unreadable"), f"{name} {field}", text)
                    store.hdel(self._key(name), field)
        return found


class RedisBoard(RedisProposals):
    """The board in Redis. A thread renews the lease while it is held; `holds` goes by the own clock alone.

    seconds: after which the lease of an agent that died or lost Redis is free. A holder that cannot
    renew considers it lost a fifth of that earlier.
    """

    def __init__(self, url: str, group: str, shift: str, *, seconds: float = 10.0) -> None:
        super().__init__(url, group, shift)
        self.owner = uuid.uuid4().hex
        self.token = 0
        self._seconds = seconds
        self._until = 0.0
        self._last = "0"  # id of the newest line of the stream that was read
        self._published = 0
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self) -> bool:
        before = time.monotonic()
        with self._asking() as store:
            token = store.eval(
                _ACQUIRE,
                2,
                self._key("lease"),
                self._key("fence"),
                self.owner,
                int(self._seconds * 1000),
                self.token,
            )
        if not token:
            self._until = 0.0
            return False
        self.token = int(token)
        self._until = before + 0.8 * self._seconds
        if self._thread is None:
            self._thread = threading.Thread(target=self._renew, name="eg-agent lease", daemon=True)
            self._thread.start()
        return True

    def holds(self) -> bool:
        return time.monotonic() < self._until

    def _renew(self) -> None:
        while not self._closing.wait(self._seconds / 4):
            if not self._until:
                continue
            before = time.monotonic()
            with contextlib.suppress(BoardAway), self._asking() as store:
                ours = store.eval(_RENEW, 1, self._key("lease"), self.owner, int(self._seconds * 1000))
                self._until = before + 0.8 * self._seconds if ours else 0.0

    def claim(self, run_uid: str) -> bool:
        with self._asking() as store:
            found = store.eval(_CLAIM, 2, self._key("fence"), self._key("runs"), str(self.token), run_uid)
        if found < 0:
            self._until = 0.0
            raise LeaseLost
        return bool(found)

    def publish(self, lines: list[bytes]) -> None:
        """Share lines, one by one; raises AnsweredElsewhere at a decision that came too late."""
        for line in lines:
            row = parsed(line)
            decision, runs = (
                ("", ()) if not isinstance(row, DecisionRow) else (row.decision.decision_id, row.new_runs)
            )
            with self._asking() as store:
                written = store.eval(
                    _PUBLISH,
                    3,
                    self._key("fence"),
                    self._key("runs"),
                    self._key("ledger"),
                    str(self.token),
                    line.decode(),
                    decision,
                    *runs,
                )
            if written < 0:
                self._until = 0.0
                raise LeaseLost
            if not written:
                assert isinstance(row, DecisionRow)
                raise AnsweredElsewhere(row)

    def news(self) -> list[bytes]:
        found: list[bytes] = []
        while True:
            with self._asking() as store:
                entries = store.xrange(
                    self._key("ledger"), min=f"({self._last}" if self._last != "0" else "-", count=500
                )
            if not entries:
                return found
            self._last = entries[-1][0]
            found += [fields["line"].encode() for _, fields in entries]

    def rewind(self) -> None:
        self._last = "0"

    def answers(self) -> dict[str, str]:
        """What the board says of runs: `claimed <token>` or `answered <decision id>`, by uid."""
        with self._asking() as store:
            return dict(store.hgetall(self._key("runs")))

    def close(self) -> None:
        self._closing.set()
        self._until = 0.0
        with contextlib.suppress(BoardAway), self._asking() as store:
            store.eval(_RELEASE, 1, self._key("lease"), self.owner)
            self._redis.close()
