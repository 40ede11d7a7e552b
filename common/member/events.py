"""Who is in a room, what we want said there, and what happened: the events of a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from common.crypto.card import Card
from common.errors import FileError, RemoteProtocolError
from common.member.contents import Content
from common.member.trust import TRUSTED, Standing
from common.wire.records import MemberId, Reason, Seq, Status


@dataclass(slots=True, eq=False)
class Peer:
    """Another member.

    Attributes:
        standing: whether we seal to and show it.
        is_new: whether its name was never seen on this machine.
        came_seq: seq of the CARD by which it joined; 0 if it was here before us.
        came_ms: the relay's clock at that CARD; 0 if it was here before us.
        away: why it is away, "" while it is not.
    """

    number: MemberId
    card: Card
    standing: Standing
    is_new: bool
    came_seq: Seq
    came_ms: int
    away: str = ""

    @property
    def name(self) -> str:
        """The username."""
        return self.card.username

    @property
    def is_trusted(self) -> bool:
        """Whether we seal to and show it."""
        return self.standing in TRUSTED


@dataclass(slots=True, eq=False)
class Line:
    """Something we want said; in the outbox until its echo.

    Attributes:
        is_sealed: whether it was ever sealed: nobody but the relay knows whether it was read.
    """

    number: int
    content: Content
    to: Peer | None
    is_sealed: bool = False

    @property
    def text(self) -> str:
        """What its reader will see."""
        return self.content.text


class Joined(NamedTuple):
    """We are a member; these were here before us.

    Attributes:
        notices: the relay's own words to whoever joins, as the topic of the room.
    """

    others: Sequence[Peer]
    notices: Sequence[str] = ()


class Back(NamedTuple):
    """We have caught up after a lost connection; so many messages of others had been missed."""

    missed: int


class Came(NamedTuple):
    """Somebody joined."""

    peer: Peer
    at_ms: int


class Left(NamedTuple):
    """Somebody left."""

    peer: Peer
    reason: Reason
    at_ms: int
    seq: int = 0


class Said(NamedTuple):
    """An authentic text.

    Attributes:
        peer: None if it is our own, and in the log now.
        line: of our own text, the number `say` gave it.
        is_direct: whether the room does not see it.
        to: whom our own direct text went to.
        seq: of the room stream, or of our mail if it is direct.
    """

    peer: Peer | None
    text: str
    at_ms: int
    line: int = 0
    is_direct: bool = False
    to: str = ""
    seq: int = 0


class PasswordTold(NamedTuple):
    """A member, or None for us, told all the others a password for the relay."""

    peer: Peer | None
    password: str

    def __repr__(self) -> str:
        """Hide it."""
        return "PasswordTold()"


class AwayChanged(NamedTuple):
    """A member went away, or is back: then the reason is ""."""

    peer: Peer
    reason: str
    at_ms: int


class Trouble(Enum):
    """What can be wrong with a message or a member (PROTOCOL.md 5.2, 5.3, 6.1)."""

    UNAUTHENTIC = auto()
    UNREADABLE = auto()
    HIDDEN = auto()
    MALFORMED = auto()
    UNSUPPORTED = auto()
    KEY_UNREADABLE = auto()
    CHANGED = auto()
    NOT_INVITED = auto()


class Warned(NamedTuple):
    """Something about a member that its reader must know."""

    trouble: Trouble
    peer: Peer
    at_ms: int


class Noticed(NamedTuple):
    """The relay's own words."""

    text: str


class Answered(NamedTuple):
    """A row of what the relay says to an order; the last says what became of it.

    Attributes:
        order: the number that `Conversation.order` gave it.
    """

    order: int
    status: Status
    text: str

    @property
    def is_last(self) -> bool:
        """Whether no other row follows."""
        return self.status is not Status.CONTINUE


class Undelivered(NamedTuple):
    """Lines that will not be sent: their recipient left, or others may have joined since.

    Attributes:
        is_over: whether our session is: we join afresh, and do not know who came meanwhile.
        why: the relay's own words, if it refused them.
    """

    lines: Sequence[Line]
    is_over: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True)
class Unpinned:
    """There is no room for the pin of somebody who is new."""


class Untold(NamedTuple):
    """The password that we told may not have reached everybody."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The echo of our LEAVE: we are out."""


class Failed(NamedTuple):
    """The relay broke the protocol (400), or a pin cannot be kept: the connection must end."""

    problem: RemoteProtocolError | FileError


Event = (
    Joined
    | Back
    | Came
    | Left
    | Said
    | PasswordTold
    | AwayChanged
    | Warned
    | Noticed
    | Answered
    | Undelivered
    | Unpinned
    | Untold
    | Gone
    | Failed
)
