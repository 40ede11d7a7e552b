"""What a command can reach: one person at one view, in one room."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from common.config import ClientConfig
from common.crypto.ticket import Ticket
from common.errors import UsageError
from common.member import sentences
from common.member.conversation import Conversation
from common.member.events import Answered, Peer
from common.member.leaving import Leaving
from common.member.narrator import Narrator
from common.member.passwords import Passwords
from common.member.policy import Policy
from common.member.renaming import Renaming
from common.member.uplink import Uplink
from common.term import text
from common.term.prompt import Prompt
from common.view.view import View
from common.wire.records import Status


class Person:
    """Owned by a member, which fills it.

    Attributes:
        away: why the person is away; "" while they are not.
        fresh_secret: an invite secret that was made in this run.
        shown_numbers: safety numbers that were shown in this run.
    """

    def __init__(
        self,
        settings: ClientConfig,
        invitation: Ticket,
        view: View,
        policy: Policy,
        uplink: Uplink,
        passwords: Passwords,
        narrator: Narrator,
        renaming: Renaming,
        leaving: Leaving,
        clock: Callable[[], float],
        at_ms: Callable[[], int],
    ) -> None:
        """Bring together what there is."""
        self.settings = settings
        self.invitation = invitation
        self.view = view
        self.policy = policy
        self.uplink = uplink
        self.passwords = passwords
        self.narrator = narrator
        self.renaming = renaming
        self.leaving = leaving
        self.clock = clock
        self.at_ms = at_ms
        self.away = ""
        self.fresh_secret: bytes | None = None
        self.shown_numbers: set[str] = set()
        self._to_tell: tuple[int, str] | None = None
        """An order, and the password that it sets: others are told it once the relay took it."""
        self._on_answer: Callable[[str | None], None] | None = None

    @property
    def conversation(self) -> Conversation:
        """The present one."""
        return self.uplink.conversation

    def peer(self, name: str) -> Peer:
        """Return who is here under a name.

        Raises:
            UsageError: if nobody is.
        """
        peer = self.conversation.find(name)
        if peer is None:
            raise UsageError(f"Nobody here is called {name}. /who lists who is.")
        return peer

    # --- Questions.

    def ask(
        self, question: str, on_answer: Callable[[str | None], None], *, is_hidden: bool = False
    ) -> None:
        """Ask something in the place of the input; None answers that nobody wants to."""
        self._on_answer = on_answer
        shown = text.clean(question, multiline=False)
        self.view.ask(Prompt(shown, is_hidden=is_hidden))

    def answered(self, answer: str | None) -> None:
        """Take the answer."""
        on_answer, self._on_answer = self._on_answer, None
        self.view.ask(None)
        if on_answer is not None:
            on_answer(answer)

    # --- Absence.

    def tell_away(self, reason: str, to: Peer | None = None) -> None:
        """Tell the others, or one of them, if it can be said now, why the person is away."""
        with contextlib.suppress(UsageError):
            self.conversation.tell_away(reason, to)

    def be_back(self, *, has_spoken: bool) -> None:
        """End an absence; who has spoken to the room has said so (PROTOCOL.md 5.3)."""
        if self.away:
            self.away = ""
            self.narrator.notice("You are back.")
            if not has_spoken:
                self.tell_away("")

    # --- A new password.

    def tell_password_after(self, order: int, password: str) -> None:
        """Tell all members a password once the relay has carried out the order that sets it."""
        self._to_tell = (order, password)

    def answered_order(self, answer: Answered) -> None:
        """Show what the relay says to an order, and do what waited for it."""
        if answer.text:
            self.narrator.relay_says(answer.text)
        if self._to_tell is not None and self._to_tell[0] == answer.order and answer.is_last:
            password, self._to_tell = self._to_tell[1], None
            if answer.status is not Status.OK:
                return
            try:
                self.conversation.tell_password(password)
            except UsageError:  # we are leaving
                self.narrator.warn(sentences.UNTOLD)

    def give_up_telling(self, sentence: str) -> None:
        """Say so if the relay's answer, on which others would be told a password, cannot come."""
        if self._to_tell is not None:
            self._to_tell = None
            self.narrator.warn(sentence)
