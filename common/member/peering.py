"""A desk for two people, or a few, without a server: who ends whom, and the small program's words.

PROTOCOL.md 2, peer to peer. The listener's program is the relay too, and its member is the first.
In line mode the rows are those of the small program this grew from (UX.md 8); a screen shows the
same events as ever.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Final

from common import config
from common.errors import Refused, UsageError
from common.member import sentences
from common.member.conversation import Came, Event, Joined, Left, Noticed, Phase
from common.member.desk import EXIT_FAILED, EXIT_REFUSED, Desk
from common.view.lines import Lines
from common.view.view import Message, View
from common.wire.records import Hello, MemberId, Reason

FIRST: Final = MemberId(1)
"""The listener's number: its relay lets nobody in before it."""
CLOSED: Final = "Connection closed by peer."


def greeting(name: str) -> str:
    """Return what a listener of this name says to each newcomer."""
    return f"WELCOME Welcome to the chat! I am {name}"


class PeerDesk(Desk):
    """A desk of peer mode; owned by the client's loop, but for what its relay's loops call."""

    def __init__(
        self,
        settings: config.ClientConfig,
        peer: config.PeerConfig,
        environ: Mapping[str, str],
        view: View,
        clock: Callable[[], float],
        at_ms: Callable[[], int],
        today: str,
        psk: Callable[[], bytes],
    ) -> None:
        """Prepare, as a desk does.

        Raises:
            UsageError: if the address cannot be used.
            FileError: if a file cannot be.
        """
        super().__init__(settings, environ, view, clock, at_ms, today, psk)
        self._where = f"[parameters] of {peer.file}"
        self._is_listener = peer.mode == "listen"
        self._is_plain = isinstance(view, Lines)
        self._listener = b""  # its identity, to those who connect
        self._addresses: dict[bytes, str] = {}
        self._goodbye = 0
        self._conversation.messages_s = config.PEER_RATE

    # --- What our own relay asks, from its loops.

    def judge(self, hello: Hello) -> int | None:
        """Return the status that refuses a HELLO at our relay, or None (PROTOCOL.md 2)."""
        conversation = self._conversation
        if hello.identity == conversation.identity.public:
            return None if hello.session == conversation.hello().session else 409
        # Whoever came before us would pass for the listener, whose LEAVE ends the others.
        return None if conversation.is_welcomed else 503

    def joined(self, session: bytes, address: str) -> None:
        """Note where a member has come from."""
        self._addresses[session] = address

    # --- What happens.

    def quit(self, goodbye: str) -> None:
        """Leave as a desk does; the goodbye is no CHAT message."""
        can_say = self._conversation.phase in (Phase.CATCHING_UP, Phase.LIVE)
        if goodbye.strip() and can_say and self._leave_by_s is None:
            self._goodbye = self._conversation.say(goodbye)
            goodbye = ""
        super().quit(goodbye)

    def _operate(self, order: str) -> None:
        """Refuse an order here: the relay's answer would be a notice, which is not shown."""
        raise UsageError("Without a server nobody is in charge. Nothing was changed.")

    def _show(self, event: Event) -> None:
        if isinstance(event, Left):
            # One that resumed has come from somewhere again, and was shown before.
            self._addresses.pop(event.peer.card.session, None)
        match event:
            case Came():
                self._came(event)
            case Left(reason=Reason.LEFT):
                self._left(event)
            case Noticed():
                pass  # a peer's relay says only that it stops, which its LEAVE has told
            case _:
                super()._show(event)

    def _came(self, event: Came) -> None:
        conversation, peer = self._conversation, event.peer
        host, _, port = self._addresses.pop(peer.card.session, "").rpartition(":")
        if self._is_plain and host:
            self._plain(f"Connected by {(host.strip('[]'), int(port))}")
        if self._is_plain and self._is_listener and len(conversation.peers) == 1:
            self._compare_name(peer)
        else:
            super()._show(event)
        if self._is_listener and peer.is_trusted:
            content = greeting(conversation.username)
            with contextlib.suppress(UsageError):  # we are leaving, or thousands of lines wait
                line = conversation.say(content, peer)
                self._view.typed(line, content, peer.name, self._at_ms())

    def _left(self, event: Left) -> None:
        is_last = not self._conversation.peers
        ends_us = event.peer.card.identity == self._listener
        if self._is_plain and (self._is_listener or ends_us):
            self._plain(CLOSED)
        if not (self._is_plain and (is_last or ends_us)):
            super()._show(event)
        if self._is_plain and self._is_listener and is_last:
            self._plain("Waiting for a peer.")
        if ends_us:
            self._closed_by_peer()

    def _closed_by_peer(self) -> None:
        waiting = self._conversation.waiting
        if self._is_plain:
            self._conversation.end()
            self.close()
            self._leave_with(waiting)
        else:
            self._end(CLOSED, EXIT_FAILED if waiting else 0)

    # --- What is shown.

    def _tell_joined(self, joined: Joined) -> None:
        first = [peer.card.identity for peer in joined.others if peer.number == FIRST]
        self._listener = first[0] if first else b""
        if not self._is_plain:
            super()._tell_joined(joined)
        elif self._is_listener:
            self._plain("Waiting for a peer.")
        else:
            self._plain(f"Connected to {self._address}")
            if len(joined.others) > 1:
                self._rows(sentences.first_rows(joined, self._conversation)[1:-1])

    def _show_message(self, message: Message) -> None:
        if not self._is_plain:
            super()._show_message(message)
        elif message.is_direct and message.text == greeting(message.name):
            # Bare, since it can name nobody but its author.
            self._plain(message.text)
        elif not message.is_own:
            mark = "> " if message.is_direct else ""
            if message.text.startswith("/me "):
                self._plain(f"* {mark}{message.name} {message.text[4:]}")
            else:
                self._plain(f"{mark}{message.name} says: {message.text}")
        elif message.line != self._goodbye:
            self._plain("Sent CHAT message.")

    def _part(self, *, is_heard: bool) -> None:
        if is_heard:
            self._plain("Sent TERMINATE message.")
        self._plain("Connection closed by you.")

    def _plain(self, row: str) -> None:
        self._view.plain(row, self._at_ms())

    # --- What is refused.

    @property
    def _address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def unreachable(self, why: str, now: float) -> None:
        """Note that no address could be connected to."""
        reason = why[:1].lower() + why[1:]
        self.failed(
            f"Cannot reach {self._address}: {reason}. Is the peer listening there? "
            f"It must be the ip and port in [parameters] of its {config.FILE}.",
            now,
        )

    def _refused(self, refused: Refused) -> None:
        said = "" if refused.authentic else "The network answered: "
        name = self._conversation.username
        match refused.status:
            case 401:
                why = f"wrong key. fernet_key in {self._where} must be the same on both machines."
            case 409:
                why = (
                    f"the name {name} is in use, or both sides have one home folder. "
                    f"Change username in {self._where}, or give --home."
                )
            case _:
                super()._refused(refused)
                return
        self._end(f"{said}{why}" if said else f"{why[:1].upper()}{why[1:]}", EXIT_REFUSED)
