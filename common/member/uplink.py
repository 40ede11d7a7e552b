"""The way to the relay: link, password, retry, and what an end means (PROTOCOL.md 3.3).

Sans-I/O but for the socket that it is handed. It shows nothing and ends nothing: what happens waits
in one queue, until `next_event` hands it out, and the end of a connection is a verdict there. So
whoever breaks over an event has lost no other.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from common import names
from common.config import DEFAULT_PORT, elsewhere
from common.crypto.ticket import Ticket
from common.errors import (
    EXIT_FAILED,
    EXIT_REFUSED,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    LocalProtocolError,
    Refused,
    RemoteProtocolError,
    Unauthentic,
)
from common.member import sentences
from common.member.conversation import Conversation, Phase
from common.member.events import Event, Failed
from common.member.passwords import PAUSE_S, Passwords
from common.member.retry import Retry
from common.wire.link import ClientLink, Closed, Opened, State, parse_url
from common.wire.pipe import READ_BYTES, Pipe, Sock
from common.wire.records import Delivered

log = logging.getLogger("termchat.client")

READ_EVERY_S: Final = 1 / 28
"""A little more than a frame: what comes meanwhile is read together, and drawn in that turn."""
UNSENT_BYTES: Final = 256 * 1024
"""Answers that the relay does not read, above which we do not read it either."""
NAME_S: Final = 145.0
"""A dead connection is noticed after 25 s, and its name is held for GRACE, 120 s."""

# What the statuses of PROTOCOL.md 3.3 mean to a client that was welcomed; any other is the end,
# unless only the network may have said it. Who was never welcomed is ended by all of them.
TRANSIENT: Final = frozenset((408, 410, 412, 429, 503, 507))
"""After these it comes back."""
QUIET: Final = frozenset((408, 410, 412))
"""A resume mends these; those who read need not be told."""


class Address(NamedTuple):
    """Where a relay is.

    Attributes:
        key: the relay's, 32 bytes.
        url: as it is shown.
        unix_path: of a unix socket, or "".
        upgrade_url: what the upgrade names: a unix socket has no host.
    """

    key: bytes
    url: str
    unix_path: str
    upgrade_url: str
    is_secure: bool
    host: str
    port: int

    def __repr__(self) -> str:
        """Hide KEY."""
        return f"Address({self.url!r})"

    @property
    def place(self) -> str:
        """It in a sentence."""
        return self.unix_path or f"{names.bracketed(self.host)}:{self.port}"


def address_of(url: str, invitation: Ticket) -> Address:
    """Read a URL, or if there is none what the ticket says.

    Raises:
        UsageError: if it is no address that can be used.
    """
    if not url:
        host = names.bracketed(invitation.host or "localhost")
        url = f"ws://{host}:{invitation.port or DEFAULT_PORT}/"
    unix_path = url.removeprefix("unix:") if url.startswith("unix:") else ""
    upgrade_url = "ws://localhost/" if unix_path else url
    uri = parse_url(upgrade_url)
    return Address(invitation.key, url, unix_path, upgrade_url, uri.secure, uri.host, uri.port)


class Disconnected(NamedTuple):
    """The connection is gone; what became of it, and a verdict, follow."""


class Again(NamedTuple):
    """Dial again at once.

    Attributes:
        refused: the relay's decision; None if the connection was lost, here and below.
    """

    refused: Refused | None


class Wait(NamedTuple):
    """Dial again when it is time; what to say of it, row by row."""

    refused: Refused | None
    rows: tuple[str, ...]


class Ask(NamedTuple):
    """Another password is wanted; the sentence is for who cannot be asked: then it is over."""

    refused: Refused
    sentence: str


class Over(NamedTuple):
    """Nothing will come of it any more, and why."""

    refused: Refused | None
    sentence: str
    exit_code: int


class Parted(NamedTuple):
    """The connection has ended after our goodbye."""


Verdict = Again | Wait | Ask | Over | Parted
Happened = Event | Opened | Disconnected | Verdict


class Uplink:
    """One member's connections to one relay, one after another; owned by the client's loop.

    Attributes:
        conversation: what the records are handed to.
        wants_dial: whether the owner should connect, and hand in the socket.
        was_welcomed: whether the relay ever took us in.
        retry_at_s: when to dial again; None while that is not waited for.
        lost_at_s: since when there is no connection that was taken in; None while there is.
    """

    def __init__(
        self,
        conversation: Conversation,
        address: Address,
        passwords: Passwords,
        chance: Callable[[], float],
        refused: Callable[[Refused, str], str] = sentences.refused,
        *,
        joins: bool = True,
    ) -> None:
        """Prepare to be dialled.

        Args:
            chance: returns a number from 0 to 1.
            refused: says what a refusal means to a member of this name.
            joins: whether it joins as soon as the relay has admitted it; if not, `Opened` is told,
                and `join` does it.
        """
        self.conversation = conversation
        self.address = address
        self.wants_dial = True
        self.was_welcomed = False
        self.retry_at_s: float | None = None
        self.lost_at_s: float | None = None
        self._passwords = passwords
        self._refused = refused
        self._joins = joins
        self._pipe: Pipe[ClientLink] | None = None
        self._inbox: deque[Delivered | Closed] = deque()
        self._events: deque[Happened] = deque()
        self._read_at_s = 0.0
        self._retry = Retry(chance)
        self._name_by_s = 0.0
        """Until then the name may be held by a session of ours that was cut off."""
        self._is_anew = False
        self._told_status = 0
        self._is_over = False

    # --- What its owner asks.

    @property
    def is_connected(self) -> bool:
        """Whether there is a socket."""
        return self._pipe is not None

    @property
    def fd(self) -> int | None:
        """Of the connection, once there is one."""
        return self._pipe.sock.fileno() if self._pipe else None

    @property
    def is_writing(self) -> bool:
        """Whether the socket has not taken all there is."""
        return self._pipe is not None and self._pipe.unsent_bytes > 0

    def is_reading(self, now: float, *, is_stalled: bool) -> bool:
        """Whether to wait for the socket; is_stalled: nobody takes what we show."""
        pipe = self._pipe
        if pipe is not None and pipe.unsent_bytes >= UNSENT_BYTES:
            return False
        # The relay's answer to an upgrade is nothing to show, and does not wait for a reader.
        is_shown = pipe is None or pipe.link.state is State.CONNECTING or not is_stalled
        return is_shown and not self._inbox and now >= self._read_at_s

    def deadline(self, now: float) -> float | None:
        """Return when `tick`, `open_record` or `send` is next wanted."""
        if self._inbox or self._events:
            return now
        times = [self.retry_at_s]
        if self._pipe is not None:
            times += [self._pipe.link.deadline(), self.conversation.deadline()]
            if self._read_at_s > now:
                times.append(self._read_at_s)
        return min((at for at in times if at is not None), default=None)

    def next_event(self) -> Happened | None:
        """Take what happened next, or None."""
        return self._events.popleft() if self._events else None

    # --- Dialling.

    def dialling(self) -> None:
        """Note that the owner does what `wants_dial` says, with the password that is next."""
        self.wants_dial = False
        self.retry_at_s = None
        self._passwords.next()

    def attach(self, sock: Sock, now: float) -> None:
        """Begin a handshake on a socket that is connected."""
        if self._passwords.psk is None:
            raise LocalProtocolError("a connection without a psk")
        if self._pipe is not None:
            sock.close()  # what it was dialled for is no longer wanted
            return
        address, hello = self.address, self.conversation.hello()
        try:
            link = ClientLink(address.upgrade_url, address.key, self._passwords.psk, hello, now)
        except Unauthentic:
            sock.close()
            self._over(None, "KEY is no key that a relay can have.", EXIT_USAGE)
            return
        self._pipe = Pipe(sock, link)

    def failed(self, problem: str, now: float, *, refused: Refused | None = None) -> None:
        """Note that there is no connection: the end for a stranger, a pause for a member."""
        if not self.was_welcomed:
            self._over(refused, problem, EXIT_UNREACHABLE)
            return
        at_least_s = refused.retry_after_s if refused is not None else 0.0
        if refused is not None and refused.status == 401:
            at_least_s = PAUSE_S
        self.retry_at_s = self._retry.failed(now, at_least_s=at_least_s)
        rows = []
        if self.lost_at_s is None:
            self.lost_at_s = now
            wait = sentences.duration(self.retry_at_s - now + 0.5)
            rows.append(f"Connection lost. Retrying in {wait}.")
        if refused is not None and self._is_worth_telling(refused):
            self._told_status = refused.status
            rows.append(self._refused(refused, self.conversation.username))
        self._events.append(Wait(refused, tuple(rows)))

    def _is_worth_telling(self, refused: Refused) -> bool:
        is_said = refused.authentic and refused.status == 503  # by a NOTICE before it
        return not is_said and refused.status not in (*QUIET, self._told_status)

    def retry(self, now: float) -> None:
        """Do not wait any longer, if we do."""
        if self.retry_at_s is not None:
            self.retry_at_s = now

    def woke(self, now: float) -> None:
        """See whether the connection has outlived a sleep."""
        if self._pipe is not None:
            self._pipe.link.ping(now)
        self.retry(now)

    def settled(self) -> None:
        """Note that the relay has us: `Joined` or `Back` was heard."""
        self.was_welcomed = True
        self.lost_at_s = None
        self._retry.succeeded()
        self._is_anew, self._told_status = False, 0
        self._passwords.accepted()

    def join(self, now: float) -> None:
        """Join on a connection that the relay has admitted."""
        if self._pipe is not None:
            self.conversation.opened(self._pipe.link.handshake_hash, now)

    def take_over(self, other: Uplink, now: float) -> None:
        """Go on with the conversation and the connection of another, which has been admitted."""
        self.say_goodbye(now)
        self.close()
        self._events.clear()  # of a session that is over
        self.conversation, self._pipe = other.conversation, other.detach()
        self.join(now)

    def detach(self) -> Pipe[ClientLink] | None:
        """Let go of the connection, which goes on elsewhere."""
        pipe, self._pipe = self._pipe, None
        return pipe

    # --- In.

    def read(self, now: float, *, reads_together: bool) -> None:
        """Take what the socket has; reads_together: nobody waits for it within a frame."""
        pipe = self._pipe
        data = pipe.read() if pipe is not None else None
        if pipe is None or data is None:
            return
        is_drained = len(data) < READ_BYTES and reads_together
        self._read_at_s = now + READ_EVERY_S if is_drained else now
        for event in pipe.link.receive(data, now):
            match event:
                case Delivered() | Closed():
                    self._inbox.append(event)
                case Opened() if self._joins:
                    self.conversation.opened(event.handshake_hash, now)
                case Opened():
                    self._events.append(event)

    def open_record(self, now: float) -> Delivered | Closed | None:
        """Open one record that was received, or the end after the last; return it, or None."""
        if not self._inbox:
            return None
        record = self._inbox.popleft()
        if isinstance(record, Closed):
            self.open_held()
            self._closed(record, now)
            return record
        self._note(self.conversation.receive(record, now), now)
        return record

    def _note(self, events: Sequence[Event], now: float) -> None:
        for event in events:
            if isinstance(event, Failed):
                self._broke(event.problem, now)
            else:
                self._events.append(event)

    def open_held(self) -> None:
        """Open the messages that are held for those after them: no record is left."""
        self._events += self.conversation.open_held()

    def _broke(self, problem: Exception, now: float) -> None:
        """End what cannot go on; what was received before counts."""
        self._inbox.clear()
        self.open_held()
        if isinstance(problem, RemoteProtocolError):
            if self._pipe is not None:
                self._closed(self._pipe.link.blame(str(problem), now, authentic=True), now)
        else:
            # A pin that cannot be kept is no pin: better no conversation than one with anybody.
            self._over(None, elsewhere(problem), EXIT_FAILED)

    # --- Out, and time.

    def send(self, now: float) -> None:
        """Hand the socket what must leave now."""
        pipe = self._pipe
        if pipe is None:
            return
        if pipe.link.state is State.OPEN and not pipe.unsent_bytes:
            for record in self.conversation.outgoing(now):
                pipe.link.send(record)
        if not pipe.flush():
            self.lost("connection lost", now)
        elif pipe.is_closed and not self._inbox:
            self.close()

    def tick(self, now: float, *, is_stalled: bool = False) -> None:
        """Let time pass; is_stalled: nobody takes what we show, so we do not read."""
        if self._pipe is not None:
            if is_stalled:
                self._pipe.link.rest(now)
            for closed in self._pipe.link.tick(now):
                self._ended(closed, now)
        self._note(self.conversation.tick(now), now)
        if self.retry_at_s is not None and now >= self.retry_at_s:
            self.wants_dial = True

    # --- The end.

    def say_goodbye(self, now: float) -> None:
        """Tell the relay that nothing more will come."""
        if self._pipe is not None:
            self._pipe.link.close(now)

    def close(self) -> None:
        """Let go of the socket; what the link still has to say is tried once."""
        self._inbox.clear()
        if self._pipe is not None:
            self._pipe.flush()
            self._pipe.sock.close()
            self._pipe = None

    def lost(self, why: str, now: float) -> None:
        """Take the connection for dead."""
        self._ended(Closed(None, why), now)

    def _ended(self, closed: Closed, now: float) -> None:
        """Note the end of a connection behind what was received: that may say why it ended."""
        if not self._inbox:
            self._closed(closed, now)
        elif not isinstance(self._inbox[-1], Closed):
            self._inbox.append(closed)

    def _closed(self, closed: Closed, now: float) -> None:
        """Decide what the end of a connection means."""
        log.info("closed: %s", closed.why)
        if self._is_over:
            return
        conversation, refused = self.conversation, closed.refused
        if conversation.phase is Phase.ENDED:
            self._events.append(Parted())
            return
        self.was_welcomed |= conversation.is_welcomed
        # A member may be typing: what was meant for the room must not become a password.
        asks = refused is not None and refused.status == 401 and not self.was_welcomed
        if refused is not None and asks and not refused.authentic:
            sentence = self._refused(refused, conversation.username)
            self._disconnect(conversation.lost)
            self._events.append(Ask(refused, sentence))
        elif refused is not None and not self._may_retry(refused, now):
            self._over(refused, self._refused(refused, conversation.username), EXIT_REFUSED)
        elif not self.was_welcomed:
            where = self.address.place
            why = f"The connection to {where} was lost before it was a termchat server's."
            self._over(refused, why, EXIT_UNREACHABLE)
        else:
            self._pause(refused, now)

    def _may_retry(self, refused: Refused, now: float) -> bool:
        """Tell whether a client that was welcomed goes on after this."""
        if not self.was_welcomed:
            return False
        is_ours = refused.status == 409 and now < self._name_by_s
        return refused.status in TRANSIENT or not refused.authentic or is_ours

    def _pause(self, refused: Refused | None, now: float) -> None:
        conversation = self.conversation
        status = refused.status if refused is not None else 0
        if conversation.phase is not Phase.OFFLINE:
            # The relay may take this session for a member for so long.
            self._name_by_s = now + NAME_S
        self._disconnect(conversation.rejoin if status == 410 else conversation.lost)
        # Once; a relay that says so to a session it does not know must be waited for.
        is_anew, self._is_anew = status == 410 and not self._is_anew, self._is_anew or status == 410
        if is_anew or (status == 401 and self._passwords.refused(now)):
            self.wants_dial = True
            self._events.append(Again(refused))
        else:
            self.failed("", now, refused=refused)

    def _disconnect(self, note: Callable[[], list[Event]]) -> None:
        self.close()
        self._events.append(Disconnected())
        self._events += note()

    def _over(self, refused: Refused | None, sentence: str, exit_code: int) -> None:
        self._is_over = True
        self._events.append(Over(refused, sentence, exit_code))
