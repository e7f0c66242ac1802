"""`FollowingIdentifier`: answers with the checkpoint that a promoted folder says, and takes up a new one.

Between two answers it looks at the pointer (one `stat`). A checkpoint that changed is checked by its hashes,
loaded, and tried on a made-up pattern before it answers; one that fails any of that leaves the old one in
place, with the reason. What happened waits in `told` for whoever keeps the record.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eg_agent.errors import BadInput, EgAgentError
from eg_agent.identify.identification import Identification
from eg_agent.identify.identifier import Identifier
from eg_agent.identify.settings import IdentifySettings
from eg_agent.model.promoted import POINTER, Entry, Promoted, same
from eg_agent.patterns import Pattern

if TYPE_CHECKING:
    from eg_agent.chemistry import Composition
    from eg_agent.library import Library
    from eg_agent.model import Classifier

_log = logging.getLogger(__name__)


class FollowingIdentifier:
    """An `Identifier` whose checkpoint is the one that a promoted folder says at the time of each answer.

    folder: of `eg_agent.model.promoted`. The other arguments are those of `Identifier`. Where the checkpoint
    that counts does not load at the start, the last earlier one that does is taken, and `told` says so.
    Raises BadInput when none loads.
    """

    def __init__(
        self,
        folder: str | Path,
        prior: str | Path = "mineral",
        settings: IdentifySettings | None = None,
        *,
        library: Library | str | Path | None = None,
    ) -> None:
        self.promoted = Promoted(folder)
        self.told: list[str] = []
        self._prior = prior
        self._settings = settings
        self._library = library
        self._seen = self._look()
        pointer = self.promoted.pointer()
        found: Identifier | None = None
        for entry in (pointer.current, *pointer.before):
            try:
                found = self._load(entry)
            except EgAgentError as error:
                self._tell(f"checkpoint {entry.folder} is not taken: {error}")
                continue
            self.entry = entry
            break
        if found is None:
            raise BadInput(f"no checkpoint in {folder} can be loaded: {self.told[0]}")
        self._now = found

    @property
    def classifier(self) -> Classifier:
        """The network that answers now."""
        return self._now.classifier

    def identify(
        self,
        pattern: Pattern,
        cell: Sequence[float] | None = None,
        composition: Composition | None = None,
    ) -> Identification:
        """As `Identifier.identify`, with the checkpoint that counts now."""
        self.refresh()
        return self._now.identify(pattern, cell, composition)

    def refresh(self) -> bool:
        """Look at the pointer, and take up another checkpoint if it says one; whether that happened."""
        seen = self._look()
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            entry = self.promoted.pointer().current
            if same(entry, self.entry):
                return False
            found = self._load(entry)
        except EgAgentError as error:
            self._tell(f"the checkpoint stays {self.entry.folder}: {error}")
            return False
        before, self._now, self.entry = self.entry, found, entry
        self._tell(
            f"checkpoint {entry.folder} in place of {before.folder}" + (f": {entry.why}" if entry.why else "")
        )
        return True

    def take_told(self) -> list[str]:
        """What was told since the last time."""
        told, self.told = self.told, []
        return told

    def _tell(self, text: str) -> None:
        _log.warning("%s", text)
        self.told.append(text)

    def _look(self) -> tuple[int, int] | None:
        try:
            state = (self.promoted.folder / POINTER).stat()
        except OSError:
            return None
        return state.st_mtime_ns, state.st_ino

    def _load(self, entry: Entry) -> Identifier:
        """An identifier with an entry's checkpoint, tried; EgAgentError says what is wrong with it."""
        card = self.promoted.verify(entry)
        try:
            found = Identifier(card, self._prior, self._settings, library=self._library)
            grid = found.classifier.grid
            self._library = found.library
            ramp = np.linspace(0.0, 1.0, grid.length, dtype=np.float32)[None]
            outputs = found.classifier.projected_outputs(ramp, np.ones((1, grid.length), dtype=bool))
            said = found.classifier.log_probability(outputs)
        except EgAgentError:
            raise
        except Exception as error:  # whatever a foreign file does: the old checkpoint goes on answering
            raise BadInput(f"{card} cannot be used ({type(error).__name__}: {error}).") from error
        if not np.all(np.isfinite(said)):
            raise BadInput(f"{card} answers with numbers that are not finite: promote another one.")
        return found
