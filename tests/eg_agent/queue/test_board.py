"""Lease, fencing, claims and the shared ledger, on a folder and on a real Redis."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from made import decision, row

from eg_agent.queue.board import BoardAway, LeaseLost
from eg_agent.queue.board_redis import RedisBoard
from eg_agent.records import OutcomeRow, read_ledger


def lines_of(ledger):
    return [line for line in ledger.ledger.path.read_bytes().splitlines() if line]


def test_one_holds_the_lease_and_another_takes_over_when_it_is_given_back(make_board):
    first, second = make_board(), make_board()
    assert first.acquire()
    assert first.acquire()  # again, by the same
    assert not second.acquire()
    assert first.holds()
    assert not second.holds()
    first.close()
    assert second.acquire()
    assert not first.holds()


def test_the_lease_outlives_its_time_while_its_holder_lives(make_board):
    first, second = make_board(), make_board()
    assert first.acquire()
    time.sleep(2.5)  # two and a half times the lease in Redis
    assert first.holds()
    assert not second.acquire()


def test_a_holder_that_was_killed_loses_the_lease(redis_server, tmp_path):
    code = (
        "import sys; from eg_agent.queue.board_redis import RedisBoard; "
        "b = RedisBoard(sys.argv[1], 'agents', 'killed', seconds=1.0); "
        "print(b.acquire(), b.token, flush=True); import time; time.sleep(60)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, redis_server.url], stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline().split() == ["True", "1"]
        mine = RedisBoard(redis_server.url, "agents", "killed", seconds=1.0)
        assert not mine.acquire()
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    deadline = time.monotonic() + 10
    while not mine.acquire() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert mine.holds()
    assert mine.token == 2
    mine.close()


def test_a_holder_that_slept_through_its_lease_can_write_nothing(redis_server, settings):
    """The fence: its clock may still say that it holds, the store knows better."""
    old, new = (RedisBoard(redis_server.url, "agents", "fence", seconds=1.0) for _ in range(2))
    assert old.acquire()
    old._closing.set()  # as a process that is stopped: nothing renews
    time.sleep(1.3)
    assert new.acquire()
    old._until = time.monotonic() + 100.0
    with pytest.raises(LeaseLost):
        old.claim("run-1")
    with pytest.raises(LeaseLost):
        old.publish([b'{"kind": "note", "what": "late"}'])
    assert not old.holds()
    assert new.claim("run-1")
    old.close()
    assert new.holds()  # the old one does not give the new one's lease back
    new.close()


def test_a_run_is_answered_once(redis_server, settings, shared):
    old, new = (RedisBoard(redis_server.url, "agents", "night", seconds=1.0) for _ in range(2))
    redis_server.client().flushall()
    assert old.acquire()
    mine = shared(old, "old")
    assert old.claim("run-d1")
    mine.write(row(decision("d1"), settings))
    mine.publish()
    assert not old.claim("run-d1")
    old.close()
    assert new.acquire()
    assert not new.claim("run-d1")
    theirs = shared(new, "new")
    theirs.follow()  # the whole ledger came along
    assert theirs.book.answered == {"run-d1": "d1"}
    assert lines_of(theirs) == lines_of(mine)
    # Started again, it takes nothing twice.
    again = RedisBoard(redis_server.url, "agents", "night", seconds=1.0)
    restarted = shared(again, "new")
    restarted.follow()
    assert lines_of(restarted) == lines_of(mine)
    assert restarted.book.answered == {"run-d1": "d1"}
    # A claim of a holder that died before it answered goes to the next one.
    assert new.claim("run-2")
    new.close()
    third = RedisBoard(redis_server.url, "agents", "night", seconds=1.0)
    assert third.acquire()
    assert third.claim("run-2")
    third.close()


def test_a_decision_that_came_too_late_is_withdrawn_and_the_ledger_says_so(redis_server, settings, shared):
    redis_server.client().flushall()
    first = RedisBoard(redis_server.url, "agents", "night", seconds=1.0)
    assert first.acquire()
    one = shared(first, "one")
    one.write(row(decision("d1"), settings, new_runs=("run-1",)))
    one.publish()
    first.close()
    second = RedisBoard(redis_server.url, "agents", "night", seconds=1.0)
    assert second.acquire()
    two = shared(second, "two")
    two.write(row(decision("late"), settings, new_runs=("run-1",)))
    two.publish()
    outcomes = [r for r in read_ledger(two.ledger.path) if isinstance(r, OutcomeRow)]
    assert [(r.decision_id, r.status) for r in outcomes] == [("late", "refused")]
    assert two.book.works["late"].phase == "closed"
    assert second.answers() == {"run-1": "answered d1"}
    second.close()


def test_a_store_that_lost_everything_is_filled_again_from_the_ledger(redis_server, settings, shared):
    redis_server.client().flushall()
    board = RedisBoard(redis_server.url, "agents", "night", seconds=1.0)
    assert board.acquire()
    token = board.token
    ledger = shared(board)
    ledger.write(row(decision("d1"), settings))
    ledger.publish()
    redis_server.client().flushall()
    time.sleep(0.6)  # the renewal finds that the lease is gone
    assert not board.holds()
    assert board.acquire()
    assert board.token > token  # no token is used twice, though the store forgot which there were
    ledger.resync()
    ledger.publish()
    assert board.answers() == {"run-d1": "answered d1"}
    board.close()


def test_an_unreachable_store_is_said_without_its_password(redis_server):
    board = RedisBoard("redis://:very-secret@127.0.0.1:9", "agents", "night")
    with pytest.raises(BoardAway) as told:
        board.acquire()
    assert "very-secret" not in str(told.value)
    wrong = RedisBoard(redis_server.url.replace("pass-of-redis", "wrong-pass"), "agents", "night")
    with pytest.raises(BoardAway, match=r"(?i)auth|pass") as told:
        wrong.acquire()
    assert "wrong-pass" not in str(told.value)
