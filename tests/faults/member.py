"""A member as `client.py` is one, without a view; and what became of each line, for the judge."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from common.crypto.identity import Identity
from common.crypto.ticket import Ticket
from common.errors import Refused
from common.member.conversation import Conversation, Phase
from common.member.events import (
    Back,
    Came,
    Gone,
    Joined,
    Left,
    Line,
    Noticed,
    Peer,
    Said,
    Undelivered,
)
from common.member.outbox import MESSAGES_S
from common.member.passwords import Passwords
from common.member.trust import Pins
from common.member.uplink import Again, Disconnected, Happened, Uplink, Wait, address_of
from common.wire.link import Closed
from common.wire.records import Delivered, Kind, message_seen

TRANSIENT = (408, 409, 410, 412, 429, 503, 507)

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
        """Prepare; `speed`: how much faster than the system's its clock is."""
        conversation = Conversation(
            key=key,
            room=room,
            username=name,
            identity=Identity.generate(),
            secret=None,
            pins=Pins(None),
            today="2026-11-21",
            at_ms=lambda: 0,
        )
        # The relay counts on the system's clock.
        conversation.messages_s = MESSAGES_S / speed
        passwords = Passwords("", lambda _: psk)
        passwords.psk = psk
        address = address_of(f"ws://localhost:{port}/", Ticket(key))
        self.uplink = Uplink(conversation, address, passwords, rng.random)
        self.uplink.was_welcomed = True  # nobody gives up at the first refusal
        self.name = name
        self.rejoins = 0
        self.live_at_s = 0.0
        self._port = port
        self._ledger = ledger
        self._speed = speed
        self._ghosts: list[socket.socket] = []
        self._seen: set[str] = set()
        self._due: deque[Delivered] = deque()
        self.notices: list[str] = []
        self.stays: list[Stay] = []

    # --- What the campaign does.

    @property
    def conversation(self) -> Conversation:
        """Its side of its room."""
        return self.uplink.conversation

    @property
    def fd(self) -> int | None:
        """What to wait for."""
        return self.uplink.fd

    @property
    def is_live(self) -> bool:
        """Whether it may speak."""
        return self.uplink.is_connected and self.conversation.phase is Phase.LIVE

    @property
    def is_done(self) -> bool:
        """Whether all that it said is in the log or reported."""
        return self.is_live and not self.conversation.waiting

    def say(self, text: str, to: Peer | None = None) -> None:
        """Say a text that nobody said before."""
        self._ledger.put(self, text, is_direct=to is not None)
        self.conversation.say(text, to)

    def redial(self, now: float) -> None:
        """Take the connection for dead, and leave it open: it may live on at the relay."""
        pipe = self.uplink.detach()
        if pipe is not None:
            assert isinstance(pipe.sock, socket.socket)
            self._ghosts.append(pipe.sock)
            fast = now * self._speed
            self.uplink.open_held()
            self.uplink.lost("taken for dead", fast)
            self._take()
            self.uplink.retry(fast)

    def close(self) -> None:
        """Let go of every socket."""
        self.uplink.close()
        for sock in self._ghosts:
            sock.close()

    # --- The loop's side.

    def turn(self, *, is_ready: bool, now: float) -> None:
        """Dial, read, tick and send."""
        uplink, fast = self.uplink, now * self._speed
        if uplink.wants_dial:
            self._dial(fast)
        uplink.tick(fast)
        self._take()
        if is_ready:
            uplink.read(fast, reads_together=False)
        while (record := uplink.open_record(fast)) is not None:
            self._opened(record, now)
        uplink.open_held()
        self._take()
        assert not self._due, f"{self.name} was not shown {self._due}"
        uplink.send(fast)
        self._take()

    def _dial(self, fast: float) -> None:
        self.uplink.dialling()
        try:
            sock = socket.create_connection(("127.0.0.1", self._port), timeout=1.0)
        except OSError:
            self.uplink.failed("nobody is there", fast)
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.uplink.attach(sock, fast)

    # --- What comes.

    def _opened(self, record: Delivered | Closed, now: float) -> None:
        conversation = self.conversation
        if isinstance(record, Closed):
            self._take()
            return
        is_own = record.sender == conversation._reader.number
        if record.kind is Kind.MESSAGE:
            may_read = is_own or message_seen(record.body) >= conversation._reader.joined_seq
            stay = self._stay()
            if not record.to:
                (stay.shown if may_read else stay.unreadable).add(record.seq)
            if may_read and not is_own:
                self._due.append(record)
        self._take(record)
        transcript = conversation._reader.transcript
        if transcript is not None and conversation._reader.joined_seq:
            self._stay().last_seq = transcript.seq
        if conversation.phase is Phase.LIVE and not self.live_at_s:
            self.live_at_s = now

    def _take(self, echo: Delivered | None = None) -> None:
        """Check that what is shown of others is the next that came, and our own is this echo."""
        while (event := self.uplink.next_event()) is not None:
            self._note(event)
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

    def _note(self, event: Happened) -> None:
        match event:
            case Joined() | Back():
                self.uplink.settled()
                self._stay()
            case Undelivered():
                self._report(event.lines)
            case Noticed():
                self.notices.append(event.text)
            case Again() | Wait():
                self._refused(event.refused)
            case _:
                assert isinstance(event, Came | Left | Said | Gone | Disconnected), event

    def _refused(self, refused: Refused | None) -> None:
        """Check that the relay had a reason of PROTOCOL.md 3.3, for one that was welcomed."""
        if refused is not None:
            is_bad_tag = refused.status == 400 and not refused.authentic
            assert refused.status in TRANSIENT or is_bad_tag, (
                f"{self.name}: {refused.status} {refused.text}"
            )
            self.rejoins += refused.status == 410

    def _report(self, lines: Sequence[Line]) -> None:
        for line in lines:
            spoken = self._ledger.lines[line.text]
            assert not spoken.is_echoed, f"{line.text!r} is echoed, and reported"
            assert not spoken.is_reported, f"{line.text!r} is reported twice"
            spoken.is_reported = True

    def _stay(self) -> Stay:
        conversation = self.conversation
        key = (conversation._reader.log_id, int(conversation._reader.joined_seq))
        if not self.stays or (self.stays[-1].log_id, self.stays[-1].joined_seq) != key:
            self.stays.append(Stay(*key, 0))
        return self.stays[-1]

    # --- The judge.

    def check(self) -> None:
        """Check that all that the log has, from our joining on, was shown to us."""
        for place, spoken in self._ledger.places.items():
            room, log_id, seq = place
            for stay in self.stays:
                is_ours = room == self.conversation.room and stay.log_id == log_id
                if is_ours and stay.joined_seq < seq <= stay.last_seq:
                    known = seq in stay.shown or seq in stay.unreadable
                    assert known, f"{self.name} was never shown {spoken.text!r}"
                    if seq in stay.shown:
                        assert spoken.text in self._seen
