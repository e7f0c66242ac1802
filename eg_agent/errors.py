"""Errors that a user can cause, each with one sentence that says what to do."""


class EgAgentError(Exception):
    """Base of all errors that carry a message for the person at the keyboard.

    The message is one or two plain sentences: what was wrong, and what to do. Command-line verbs
    print it without a traceback and exit non-zero.
    """


class BadPattern(EgAgentError):
    """A measured pattern that no answer can be given for (see `eg_agent.patterns.check`)."""


class TooWeak(BadPattern):
    """Nothing stands above the noise so far: the one refusal that counting longer can cure."""


class BadInput(EgAgentError):
    """A wrong argument: an impossible cell, an unknown prior, a missing or unreadable file."""


class MissingExtra(EgAgentError):
    """An optional dependency is absent; the message names the pip extra that brings it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional dependency: pip install 'eg-agent[{extra}]'")
        self.extra = extra
