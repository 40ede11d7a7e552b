"""A member as `client.py` is one, without a view; and what became of each line, for the judge."""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from common.crypto.identity import Identity
from common.errors import Refused
from common.member.conversation import (
    Back,
    Came,
    Conversation,
    Event,
    Gone,
    Joined,
    Left,
    Line,
    Noticed,
    Peer,
    Phase,
    Said,
    Undelivered,
)
from common.member.retry import Retry
from common.member.trust import Pins
from common.wire.link import ClientLink, Closed, Opened
from common.wire.pipe import Pipe
from common.wire.records import Delivered, Kind, message_seen

TRANSIENT = (408, 409, 412, 429, 503)

Place = tuple[str, bytes, int]
"""Room, log and seq of a line that the room sees."""


@dataclass(eq=False)
class Spoken:
    """What became of one line."""

    by: Member | None  # None: a process of client.py
    text: str
    is_direct: bool
    place: Place | None = None
    is_echoed: bool = False
    is_reported: bool = False


@dataclass
class Stay:
    """One session's part of a log: what its member had to be shown."""

    log_id: bytes
    joined_seq: int
    last_seq: int
    shown: set[int] = field(default_factory=set)
    unreadable: set[int] = field(default_factory=set)


class Ledger:
    """Every line ever said, and where it stands in the log."""

    def __init__(self) -> None:
        self.lines: dict[str, Spoken] = {}
        self.places: dict[Place, Spoken] = {}

    def put(self, by: Member | None, text: str, *, is_direct: bool) -> None:
        """Note a line that somebody wants said."""
        self.lines[text] = Spoken(by, text, is_direct)

    def shown(self, text: str, place: Place) -> None:
        """Check that everybody has a line of the room in the same place."""
        spoken = self.lines[text]
        assert spoken.place in (None, place), f"{text!r} is in {spoken.place} and {place}"
        assert self.places.setdefault(place, spoken) is spoken, f"two lines are in {place}"
        spoken.place = place


class Member:
    """One person on one socket at a time, who dials again for as long as it takes."""

    def __init__(
        self,
        ledger: Ledger,
        key: bytes,
        psk: bytes,
        port: int,
        room: str,
        name: str,
        rng: Random,
        speed: float,
    ) -> None:
        """Prepare; `speed`: how much faster than real pings, deadlines and retries are."""
        self.conversation = Conversation(
            key=key,
            room=room,
            username=name,
            identity=Identity.generate(),
            secret=None,
            pins=Pins(None),
            today="2026-11-21",
        )
        self.name = name
        self.rejoins = 0
        self.live_at_s = 0.0
        self._key, self._psk, self._port = key, psk, port
        self._ledger = ledger
        self._speed = speed
        self._retry = Retry(rng.random)
        self._pipe: Pipe[ClientLink] | None = None
        self._ghosts: list[socket.socket] = []
        self._dial_at = 0.0
        self._seen: set[str] = set()
        self._due: deque[Delivered] = deque()
        self.notices: list[str] = []
        self.stays: list[Stay] = []

    # --- What the campaign does.

    @property
    def sock(self) -> socket.socket | None:
        """What to wait for."""
        return self._pipe.sock if self._pipe else None  # type: ignore[return-value] # made in _dial

    @property
    def is_live(self) -> bool:
        """Whether it may speak."""
        return self._pipe is not None and self.conversation.phase is Phase.LIVE

    @property
    def is_done(self) -> bool:
        """Whether all that it said is in the log or reported."""
        return self.is_live and not self.conversation.waiting

    def say(self, text: str, to: Peer | None = None) -> None:
        """Say a text that nobody said before."""
        self._ledger.put(self, text, is_direct=to is not None)
        self.conversation.say(text, to)

    def redial(self) -> None:
        """Take the connection for dead, and leave it open: it may live on at the relay."""
        if self._pipe is not None:
            assert isinstance(self._pipe.sock, socket.socket)
            self._ghosts.append(self._pipe.sock)
            self._pipe = None
            self._lost(None, 0.0)
            self._dial_at = 0.0

    def close(self) -> None:
        """Let go of every socket."""
        self._hang_up()
        for sock in self._ghosts:
            sock.close()

    # --- The loop's side.

    def turn(self, *, is_ready: bool, now: float) -> None:
        """Dial, read, tick and send."""
        fast = now * self._speed
        if self._pipe is None:
            if fast < self._dial_at:
                return
            self._dial(fast)
        pipe = self._pipe
        if pipe is None:
            return
        data = pipe.read() if is_ready else None
        for closed in pipe.link.tick(fast):
            self._on_closed(closed, fast)
        for event in pipe.link.receive(data, fast) if data is not None else ():
            match event:
                case Opened():
                    self.conversation.opened(event.handshake_hash, now)
                case Closed():
                    self._on_closed(event, fast)
                case Delivered():
                    self._receive(event, now)
        self._take(self.conversation.open_held())
        assert not self._due, f"{self.name} was not shown {self._due}"
        if self._pipe is pipe:
            for record in self.conversation.outgoing(now):
                pipe.link.send(record)
            if not pipe.flush():
                self._on_closed(Closed(None, "connection lost"), fast)

    def _dial(self, fast: float) -> None:
        try:
            sock = socket.create_connection(("127.0.0.1", self._port), timeout=1.0)
        except OSError:
            self._dial_at = self._retry.failed(fast)
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        url = f"ws://localhost:{self._port}/"
        link = ClientLink(url, self._key, self._psk, self.conversation.hello(), fast)
        self._pipe = Pipe(sock, link)

    def _on_closed(self, closed: Closed, fast: float) -> None:
        """Do as PROTOCOL.md 3.3 says, for one that was welcomed."""
        refused = closed.refused
        assert (
            refused is None
            or refused.status in (*TRANSIENT, 410)
            or (refused.status == 400 and not refused.authentic)
        ), f"{self.name}: {refused.status} {refused.text}"
        self._hang_up()
        self._lost(refused, fast)

    def _lost(self, refused: Refused | None, fast: float) -> None:
        self._take(self.conversation.open_held())
        self._end_stay()
        if refused is not None and refused.status == 410:
            self.rejoins += 1
            self._events(self.conversation.rejoin())
            self._dial_at = 0.0
            return
        self._events(self.conversation.lost())
        self._dial_at = self._retry.failed(fast)

    def _hang_up(self) -> None:
        if self._pipe is not None:
            with contextlib.suppress(OSError):
                self._pipe.sock.close()
            self._pipe = None

    # --- What comes.

    def _receive(self, record: Delivered, now: float) -> None:
        conversation = self.conversation
        is_own = record.sender == conversation._number
        if record.kind is Kind.MESSAGE:
            may_read = is_own or message_seen(record.body) >= conversation._joined_seq
            stay = self._stay()
            if not record.to:
                (stay.shown if may_read else stay.unreadable).add(record.seq)
            if may_read and not is_own:
                self._due.append(record)
        self._take(conversation.receive(record, now), record)
        if conversation.phase is Phase.LIVE and not self.live_at_s:
            self.live_at_s = now

    def _take(self, events: Sequence[Event], echo: Delivered | None = None) -> None:
        """Check that what is shown of others is the next that came, and our own is this echo."""
        self._events(events)
        for event in events:
            if isinstance(event, Said):
                record = self._due.popleft() if event.peer else echo
                assert record is not None
                assert (event.seq, event.is_direct) == (record.seq, bool(record.to))
                assert not self._due or event.peer, f"{self.name} was not shown {self._due}"
                self._shown(record, event, self._stay().log_id)

    def _shown(self, record: Delivered, said: Said, log_id: bytes) -> None:
        spoken = self._ledger.lines[said.text]
        assert (spoken.by is self) == (said.peer is None)
        assert spoken.is_direct == said.is_direct
        assert said.text not in self._seen, f"{self.name} sees {said.text!r} twice"
        self._seen.add(said.text)
        if not record.to:
            self._ledger.shown(said.text, (self.conversation.room, log_id, record.seq))
        if said.peer is None:
            assert not spoken.is_reported, f"{said.text!r} was reported, and is echoed"
            spoken.is_echoed = True

    def _events(self, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case Joined() | Back():
                    self._retry.succeeded()
                    self._stay()
                case Undelivered():
                    self._report(event.lines)
                case Noticed():
                    self.notices.append(event.text)
                case _:
                    assert isinstance(event, Came | Left | Said | Gone), event

    def _report(self, lines: Sequence[Line]) -> None:
        for line in lines:
            spoken = self._ledger.lines[line.text]
            assert not spoken.is_echoed, f"{line.text!r} is echoed, and reported"
            assert not spoken.is_reported, f"{line.text!r} is reported twice"
            spoken.is_reported = True

    def _stay(self) -> Stay:
        conversation = self.conversation
        key = (conversation._log_id, int(conversation._joined_seq))
        if not self.stays or (self.stays[-1].log_id, self.stays[-1].joined_seq) != key:
            self.stays.append(Stay(*key, 0))
        return self.stays[-1]

    def _end_stay(self) -> None:
        transcript = self.conversation._transcript
        if transcript is not None and self.conversation._joined_seq:
            self._stay().last_seq = transcript.seq

    # --- The judge.

    def check(self) -> None:
        """Check that all that the log has, from our joining on, was shown to us."""
        self._end_stay()
        for place, spoken in self._ledger.places.items():
            room, log_id, seq = place
            for stay in self.stays:
                is_ours = room == self.conversation.room and stay.log_id == log_id
                if is_ours and stay.joined_seq < seq <= stay.last_seq:
                    known = seq in stay.shown or seq in stay.unreadable
                    assert known, f"{self.name} was never shown {spoken.text!r}"
                    if seq in stay.shown:
                        assert spoken.text in self._seen
