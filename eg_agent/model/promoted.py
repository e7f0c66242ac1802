"""`Promoted`: a folder whose `current.json` says which checkpoint counts now, and which did before.

    FOLDER/current.json                   the pointer, replaced as a whole
    FOLDER/<hash>/checkpoint.json, .safetensors (, .composition.safetensors)

A checkpoint is copied in and loaded once before anything points to it, and what was promoted stays, so that
going back is the same small write. Whoever takes a checkpoint by path may be given the folder: the one that
counts is read. A running agent looks at the pointer between two answers (`eg_agent.identify.following`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from eg_agent.errors import BadInput
from eg_agent.values import VALUE_CONFIG

POINTER = "current.json"
CARD = "checkpoint.json"
VERSION = 1


@dataclass(frozen=True)
class Entry:
    """A checkpoint that was promoted.

    folder: its own, inside the promoted one: the hash that the ledger knows it by, with digits of the card's,
    since one network may be calibrated twice. weights_sha256, card_sha256: of its files. since: when the
    pointer was set to it (UTC). why: in words.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    folder: str
    weights_sha256: str
    card_sha256: str
    since: str = ""
    why: str = ""

    @property
    def hash(self) -> str:
        """First 16 digits of the weights' SHA-256, as a ledger has it."""
        return self.weights_sha256[:16]


@dataclass(frozen=True)
class Pointer:
    """What `current.json` holds. before: those that counted earlier, the last one first."""

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    current: Entry
    before: tuple[Entry, ...] = ()
    version: int = VERSION


_POINTER: TypeAdapter[Pointer] = TypeAdapter(Pointer)


def is_promoted(path: str | Path) -> bool:
    """Whether a path is a folder with a pointer."""
    return (Path(path) / POINTER).is_file()


class Promoted:
    """The folder. Reading is safe beside a writer; writers exclude each other by a lock."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def pointer(self) -> Pointer:
        """Which checkpoint counts; BadInput where the folder does not say."""
        path = self.folder / POINTER
        try:
            found = _POINTER.validate_json(path.read_bytes())
        except FileNotFoundError:
            raise BadInput(
                f"{self.folder} holds no promoted checkpoint: promote one with eg-train promote."
            ) from None
        except (OSError, ValidationError) as error:
            reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
            raise BadInput(
                f"{path} cannot be read ({reason}): restore it, or promote a checkpoint again."
            ) from error
        if found.version > VERSION:
            raise BadInput(f"{path} is of version {found.version}, this eg-agent reads up to {VERSION}.")
        return found

    def card(self, entry: Entry) -> Path:
        """Path of an entry's card."""
        return self.folder / entry.folder / CARD

    def verify(self, entry: Entry) -> Path:
        """The card's path, after checking that card and weights are those that were promoted."""
        card = self.card(entry)
        for path, expected in ((card, entry.card_sha256), (card.with_suffix(".safetensors"), None)):
            try:
                found = _sha256(path)
            except OSError as error:
                raise BadInput(f"{path} cannot be read ({error.strerror}): promote it again.") from error
            if found != (expected or entry.weights_sha256):
                raise BadInput(
                    f"{path} is not what was promoted (SHA-256 {found[:16]}, the pointer says "
                    f"{(expected or entry.weights_sha256)[:16]}): promote it again, or go back."
                )
        return card

    def promote(self, checkpoint: str | Path, why: str = "") -> Entry:
        """Copy a checkpoint (name or card) in, load it to be sure, and let the pointer say it.

        What counted before is kept. Promoting what counts already changes nothing. BadInput for a checkpoint
        that does not load, or a folder that cannot be written; then the pointer is as it was.
        """
        from eg_agent.model.checkpoint import (
            composition_file,
            find_checkpoint,
            load_checkpoint,
            load_composition,
        )

        source = find_checkpoint(checkpoint)
        _, card = load_checkpoint(source)
        card_sha256 = _sha256(source)
        entry = Entry(f"{card.hash}-{card_sha256[:8]}", card.weights_sha256, card_sha256)
        with self._writing():
            before = self._known()
            if before is not None and same(before.current, entry):
                return before.current
            target = self.folder / entry.folder
            part = self.folder / f".{entry.folder}.part"
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            _copy(source, part / CARD)
            _copy(source.with_suffix(".safetensors"), (part / CARD).with_suffix(".safetensors"))
            if card.composition is not None:
                _copy(composition_file(source), composition_file(part / CARD))
            load_checkpoint(part / CARD)
            load_composition(part / CARD, card)
            shutil.rmtree(target, ignore_errors=True)
            part.rename(target)
            return self._point(entry, before, why)

    def back(self, to: str | None = None, why: str = "") -> Entry:
        """Let the pointer say an earlier checkpoint: the last one, or that whose hash begins with `to`."""
        from eg_agent.model.checkpoint import load_checkpoint

        self.pointer()  # where there is none, no lock is left behind either
        with self._writing():
            pointer = self.pointer()
            others = [e for e in pointer.before if not same(e, pointer.current)]
            chosen = [e for e in others if to is None or e.folder.startswith(to)]
            if not chosen:
                known = ", ".join(dict.fromkeys(e.folder for e in others)) or "none"
                raise BadInput(f"there is no earlier checkpoint {to or ''} to go back to (earlier: {known}).")
            load_checkpoint(self.verify(chosen[0]))
            return self._point(chosen[0], pointer, why or f"back from {pointer.current.folder}")

    def _known(self) -> Pointer | None:
        return self.pointer() if is_promoted(self.folder) else None

    def _point(self, entry: Entry, before: Pointer | None, why: str) -> Entry:
        from eg_agent.model.checkpoint import write_atomically

        entry = replace(entry, since=datetime.now(UTC).isoformat(timespec="seconds"), why=why)
        earlier = () if before is None else (before.current, *before.before)
        content = json.loads(_POINTER.dump_json(Pointer(entry, earlier)))
        write_atomically(self.folder / POINTER, (json.dumps(content, indent=1) + "\n").encode())
        return entry

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        import fcntl

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / ".lock").open("w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise BadInput(
                        f"somebody else promotes in {self.folder} just now: try again in a moment."
                    ) from None
                yield
        except OSError as error:
            raise BadInput(
                f"cannot promote in {self.folder} ({error.strerror}): free some space, or choose another "
                "folder; the pointer is as it was."
            ) from error


def same(one: Entry, other: Entry) -> bool:
    """Whether two entries are the same card with the same weights."""
    return (one.weights_sha256, one.card_sha256) == (other.weights_sha256, other.card_sha256)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy(source: Path, target: Path) -> None:
    with target.open("wb") as file:
        file.write(source.read_bytes())
        file.flush()
        os.fsync(file.fileno())
