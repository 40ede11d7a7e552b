"""Every exception of the project, in one tree, and the exit codes.

`str(error)` is one sentence fit for a status bar and holds no secret. DESIGN.md 8 says where each
kind stops.
"""

from __future__ import annotations

# How a program ends (UX.md 8, 13).
EXIT_FAILED = 1  # something was not delivered, a file cannot be used, or nobody can listen there
EXIT_USAGE = 2
EXIT_REFUSED = 3
EXIT_UNREACHABLE = 4
EXIT_KEY_CHANGED = 5  # all was sent, but not to somebody here whose key has changed
EXIT_INTERRUPTED = 130


class TermchatError(Exception):
    """Root of every exception this project raises on purpose.

    Attributes:
        exit_code: of a program that this keeps from its work.
    """

    exit_code = EXIT_FAILED


class UsageError(TermchatError):
    """A wrong flag, setting or command."""

    exit_code = EXIT_USAGE


class Lacking(UsageError, ImportError):
    """A library of this machine that cannot do what we need; it says what to do."""


class FileError(TermchatError):
    """A private or stored file cannot be used."""


class Inaccessible(FileError):
    """The system does not let us read or write it."""


class ProtocolError(TermchatError):
    """A value the protocol does not allow; machines raise it inside, `receive` makes it remote."""


class LocalProtocolError(ProtocolError):
    """We tried to send what the protocol does not allow: a bug of ours."""


class RemoteProtocolError(ProtocolError):
    """The peer sent what the protocol does not allow (400)."""


class Unauthentic(TermchatError):
    """Something failed authentication: forged, replayed, or sealed with another key."""


class Unreadable(TermchatError):
    """A SENDER_KEY that does not open, or content that is malformed."""


class Refused(TermchatError):
    """The relay's decision.

    Attributes:
        status: one of PROTOCOL.md 3.3, or another HTTP status.
        text: the relay's own words, uncleaned; empty if it gave none.
        authentic: whether an ERROR record said it; a bare HTTP status can be forged.
        retry_after_s: seconds the relay asked us to wait; 0 if it did not.
    """

    def __init__(
        self, status: int, text: str = "", *, authentic: bool = False, retry_after_s: int = 0
    ) -> None:
        super().__init__(f"refused with status {status}")
        self.status = status
        self.text = text
        self.authentic = authentic
        self.retry_after_s = retry_after_s
