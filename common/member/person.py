"""What a command can reach: one person at one view, in one room."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from common.config import ClientConfig
from common.crypto import ticket
from common.crypto.ticket import Ticket
from common.errors import FileError, UsageError
from common.member import sentences
from common.member.conversation import Conversation
from common.member.events import Answered, PasswordTold, Peer
from common.member.leaving import Leaving
from common.member.narrator import Narrator
from common.member.passwords import Passwords, Rank
from common.member.policy import Policy
from common.member.relays import Keeper, Kept
from common.member.renaming import Renaming
from common.member.trust import Pins, Standing
from common.member.uplink import Uplink
from common.term import text
from common.term.prompt import Prompt
from common.view.view import View
from common.wire.records import Status

_RANKS: Final = {Standing.VERIFIED: Rank.VERIFIED, Standing.INVITED: Rank.INVITED}
"""Of a told password; everybody else's is the last."""
_NEVER: Final = "9999-12-31"
"""Since when somebody is known of whom there is no pin."""


class Person:
    """Owned by a member, which fills it.

    Attributes:
        away: why the person is away; "" while they are not.
        fresh_secret: an invite secret that was made in this run.
        shown_numbers: safety numbers that were shown in this run.
        keeper: of what is kept of the relay; its pins are in `pins`.
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
        self.keeper = Keeper(None, "")
        self.pins = Pins(None)
        self._to_tell: tuple[int, str] | None = None
        """An order, and the password that it sets: others are told it once the relay took it."""
        self._on_answer: Callable[[str | None], None] | None = None
        self._was_asked = False
        self._is_asked_again = False
        """Whether a member is being asked for another password."""

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

    # --- What is kept of the relay.

    def keep(self) -> None:
        """Note under which name, and in which room, the relay has us."""
        invitation, settings = replace(self.invitation, secret=None), self.settings
        kept = Kept(
            self.conversation.username,
            settings.room,
            ticket.encode(invitation),
            settings.url,
        )
        try:
            self.keeper.joined(kept, keeps_key=settings.keeps_key)
        except FileError as problem:  # we talk all the same
            self.narrator.notice(str(problem))

    def forget(self) -> str:
        """Keep nothing of the relay from now on; return a sentence that says what was kept.

        Raises:
            FileError: if a file cannot be used.
        """
        kept = self.keeper.forget()
        return sentences.forgotten(kept, self.pins.forget(ticket.server_id(self.invitation.key)))

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
        """End an absence; who has spoken to the room has said so (PROTOCOL.md 5.4)."""
        if self.away:
            self.away = ""
            self.narrator.notice("You are back.")
            if not has_spoken:
                self.tell_away("")

    # --- A password that lets us in.

    @property
    def can_answer(self) -> bool:
        """Whether somebody is here who could be asked something."""
        return self.leaving.has_input and self.view.can_ask

    @property
    def can_retype(self) -> bool:
        """Whether a member whom no known password lets in may ask to be asked for another.

        It is not asked without that: who is typing to the room would type to us.
        """
        is_shut_out = self.passwords.is_shut_out and self.uplink.retry_at_s is not None
        return is_shut_out and self.can_answer and self.settings.peer is None

    def ask_password(self, give_up: Callable[[], None]) -> None:
        """Ask for a password and dial with it; `give_up` hears that there is none."""
        if self._was_asked:
            self.narrator.notice("Wrong KEY or password.")
        self._is_asked_again = is_member = self.uplink.was_welcomed

        def answered(answer: str | None) -> None:
            self._is_asked_again = False
            if answer is None or (is_member and not answer):
                give_up()
                return
            self.passwords.typed(answer)
            if is_member:
                self.uplink.retry(self.clock())
            else:
                self.uplink.wants_dial = self._was_asked = True

        self.ask("Password: ", answered, is_hidden=True)

    def welcomed(self) -> None:
        """Note that the relay has us: what it was to be shown is not asked for any more."""
        if self._is_asked_again:
            self.answered(None)

    def password_told(self, told: PasswordTold) -> None:
        """Take what a member told, as one more to try (PROTOCOL.md 5.4), and show it."""
        if told.peer is not None:
            pin = self.conversation.pin(told.peer)
            rank = _RANKS.get(told.peer.standing, Rank.FIRST_SEEN)
            since = _NEVER if pin is None else pin.date
            self.passwords.told(told.peer.card.identity, told.password, rank, since)
        self.narrator.password_told(told)

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
