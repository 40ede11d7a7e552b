"""What differs without a server, for two people or a few (PROTOCOL.md 2, peer to peer).

The listener's program is the relay too, and its member is the first: its LEAVE ends the others. In
line mode the rows are those of the small program this grew from (UX.md 8); a screen shows the same
events as ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from common import config
from common.errors import Refused, UsageError
from common.member import sentences
from common.member.conversation import Conversation
from common.member.events import Joined, Peer
from common.member.policy import Policy
from common.member.uplink import Address, Uplink
from common.term import text
from common.view.view import Message, Presence, View
from common.wire.records import Hello, MemberId, Reason

FIRST: Final = MemberId(1)
"""The listener's number: its relay lets nobody in before it."""
CLOSED: Final = "Connection closed by peer."
WAITING: Final = "Waiting for a peer."


def greeting(name: str) -> str:
    """Return what a listener of this name says to each newcomer."""
    return f"WELCOME Welcome to the chat! I am {name}"


class Doorkeeper:
    """Who may come in at the relay of a client that listens; its loops call it.

    They read one attribute and write one key.
    """

    def __init__(self) -> None:
        self.uplink: Uplink | None = None
        """Of the listener's own member, once there is one."""
        self._addresses: dict[bytes, str] = {}

    def judge(self, hello: Hello) -> int | None:
        """Return the status that refuses a HELLO at our relay, or None."""
        if self.uplink is None:
            return 503
        conversation = self.uplink.conversation
        if hello.identity == conversation.identity.public:
            return None if hello.session == conversation.hello().session else 409
        # Whoever came before us would pass for the listener, whose LEAVE ends the others.
        return None if conversation.is_welcomed else 503

    def joined(self, session: bytes, address: str) -> None:
        """Note where a member has come from."""
        self._addresses[session] = address

    def forget(self, session: bytes) -> str:
        """Return where a member has come from, and keep that no longer."""
        return self._addresses.pop(session, "")


class Peering(Policy):
    """The policy of peer mode."""

    messages_s = config.PEER_RATE
    # A peer's relay says only that it stops, which its LEAVE has told.
    hears_notices = False

    def __init__(
        self,
        view: View,
        at_ms: Callable[[], int],
        peer: config.PeerConfig,
        doorkeeper: Doorkeeper | None = None,
    ) -> None:
        """Tell this view; who listens has a doorkeeper."""
        super().__init__(view, at_ms)
        self._where = f"[parameters] of {peer.file}"
        self._is_plain = view.greets
        self._doorkeeper = doorkeeper
        self._listener = b""  # its identity, to those who connect

    # --- What is refused.

    def refused(self, refusal: Refused, username: str) -> str:
        """Say what a refusal means; names file, section and value."""
        match refusal.status:
            case 401:
                why = f"wrong key. fernet_key in {self._where} must be the same on both machines."
            case 409:
                why = (
                    f"the name {username} is in use, or both sides have one home folder. "
                    f"Change username in {self._where}, or give --home."
                )
            case _:
                return sentences.refused(refusal, username, "peer")
        if refusal.authentic:
            return f"{why[:1].upper()}{why[1:]}"
        return sentences.unproven(why, "peer")

    def unreachable(self, address: Address, why: str) -> str:
        """Say that no address could be connected to."""
        return (
            f"Cannot reach {address.place}: {why}. Is the peer listening there? "
            "It must be the ip and port in [parameters] of its config.ini."
        )

    def check_order(self) -> None:
        """Refuse every order: nobody is an operator here."""
        raise UsageError("Without a server nobody is in charge. Nothing was changed.")

    def check_rename(self) -> None:
        """Refuse the listener another name: its session ends everybody's."""
        if self._doorkeeper is not None:
            raise UsageError(
                "Who listens keeps the name, since leaving it would end the chat of the others. "
                f"Leave, and change username in {self._where}."
            )

    # --- What follows from who comes and goes.

    def greeting(self, peer: Peer, username: str) -> str:
        """Return what a listener says to each newcomer that it trusts."""
        return greeting(username) if self._doorkeeper is not None and peer.is_trusted else ""

    def ends_us(self, peer: Peer) -> bool:
        """Tell whether this was the listener."""
        return peer.card.identity == self._listener

    # --- What is shown.

    def joined(self, joined: Joined, conversation: Conversation, address: Address) -> None:
        """Tell that we are in, or wait."""
        first = [peer.card.identity for peer in joined.others if peer.number == FIRST]
        self._listener = first[0] if first else b""
        if not self._is_plain:
            super().joined(joined, conversation, address)
        elif self._doorkeeper is not None:
            self._plain(WAITING)
        else:
            self._plain(f"Connected to {address.place}")
            if len(joined.others) > 1:
                rows = sentences.first_rows(joined, conversation)[1:]
                self._view.answer(rows, self._at_ms())

    def came(self, presence: Presence, peer: Peer) -> None:
        """Tell that somebody came, and to a listener from where."""
        came_from = self._forget_address(peer)
        host, _, port = came_from.rpartition(":")
        if self._is_plain and host:
            self._plain(f"Connected by {(host.strip('[]'), int(port))}")
        is_first = presence.here == 2
        if not (self._is_plain and self._doorkeeper is not None and is_first):
            super().came(presence, peer)

    def left(self, presence: Presence, peer: Peer, reason: Reason) -> None:
        """Tell that somebody left, in the small program's words if that ended a chat of two."""
        # One that resumed has come from somewhere again, and was shown before.
        self._forget_address(peer)
        if reason is not Reason.LEFT:
            super().left(presence, peer, reason)
            return
        is_listener, is_last = self._doorkeeper is not None, presence.here == 1
        ends_us = self.ends_us(peer)
        if self._is_plain and (is_listener or ends_us):
            self._plain(CLOSED)
        if not (self._is_plain and (is_last or ends_us)):
            super().left(presence, peer, reason)
        if self._is_plain and is_listener and is_last:
            self._plain(WAITING)

    def _forget_address(self, peer: Peer) -> str:
        keeper = self._doorkeeper
        return keeper.forget(peer.card.session) if keeper is not None else ""

    def said(self, message: Message, *, is_goodbye: bool) -> None:
        """Tell what was said."""
        if not self._is_plain:
            super().said(message, is_goodbye=is_goodbye)
        elif message.is_direct and message.text == greeting(message.name):
            # Bare, since it can name nobody but its author.
            self._plain(message.text)
        elif not message.is_own:
            mark = "> " if message.is_direct else ""
            name = text.clean(message.name, multiline=False)
            if message.text.startswith("/me "):
                self._plain(f"* {mark}{name} {message.text[4:]}")
            else:
                self._plain(f"{mark}{name} says: {message.text}")
        elif not is_goodbye:
            self._plain("Sent CHAT message.")

    def parted(self, address: Address, *, is_heard: bool) -> None:
        """Tell that we are out."""
        if self._is_plain and is_heard:
            self._plain("Sent TERMINATE message.")
        if self._is_plain:
            self._plain("Connection closed by you.")
