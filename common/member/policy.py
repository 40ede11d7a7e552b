"""How a room is told of, what may be asked in it, and what ends it, where a server keeps it."""

from __future__ import annotations

from collections.abc import Callable

from common.errors import Refused
from common.member import sentences
from common.member.conversation import Conversation
from common.member.events import Joined, Peer
from common.member.outbox import MESSAGES_S
from common.member.uplink import Address
from common.view.view import Message, Presence, View
from common.wire.records import Reason


class Policy:
    """Handed to a member, which asks it; `common.member.peering` has the one without a server.

    Attributes:
        messages_s: what the relay takes of a member in a second.
        hears_notices: whether the relay's own words are anybody's.
    """

    messages_s = MESSAGES_S
    hears_notices = True

    def __init__(self, view: View, at_ms: Callable[[], int]) -> None:
        """Tell this view."""
        self._view = view
        self._at_ms = at_ms

    # --- What is refused.

    def refused(self, refusal: Refused, username: str) -> str:
        """Say what a refusal means."""
        return sentences.refused(refusal, username)

    def unreachable(self, address: Address, why: str) -> str:
        """Say that no address could be connected to."""
        return f"Cannot reach {address.place}: {why}. Is the server running there?"

    def check_order(self) -> None:
        """Check that there is somebody to whom an operator's order can be given.

        Raises:
            UsageError: if not.
        """

    def check_rename(self) -> None:
        """Check that we may go on under another name.

        Raises:
            UsageError: if not.
        """

    # --- What follows from who comes and goes.

    def greeting(self, peer: Peer, username: str) -> str:
        """Return what a newcomer is told by us, or ""."""
        return ""

    def ends_us(self, peer: Peer) -> bool:
        """Tell whether the room is over because this member has left it."""
        return False

    # --- What is shown.

    def joined(self, joined: Joined, conversation: Conversation, address: Address) -> None:
        """Tell that we are in, what the relay has to say to newcomers, and who is here."""
        first, *rows = sentences.first_rows(joined, conversation)
        if self._view.greets:
            self._plain(f"Connected to `{address.url}` server.")
            # A row that names no room means the lobby.
            room = f" in `{conversation.room}`" if conversation.room else ""
            self._plain(f"You are connected as `{conversation.username}`{room}.")
            self._plain(f"Users Connected: {conversation.members}")
        else:
            self._view.answer([first], self._at_ms())
        for words in joined.notices:
            self._view.notice(sentences.relay_says(words), self._at_ms())
        self._view.answer(rows, self._at_ms())

    def came(self, presence: Presence, peer: Peer) -> None:
        """Tell that somebody came."""
        self._view.moved(presence)

    def left(self, presence: Presence, peer: Peer, reason: Reason) -> None:
        """Tell that somebody left."""
        self._view.moved(presence)

    def said(self, message: Message, *, is_goodbye: bool) -> None:
        """Tell what was said; is_goodbye: by us, as the last."""
        self._view.said(message)

    def parted(self, address: Address, *, is_heard: bool) -> None:
        """Tell that we are out; is_heard: the relay has our LEAVE."""
        if self._view.greets:
            self._plain(f"Disconnected to the `{address.url}` server.")

    def _plain(self, row: str) -> None:
        self._view.plain(row, self._at_ms())
