"""How a client ends: goodbye, what was not delivered, last words and exit code (UX.md 8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from common.config import ClientConfig
from common.errors import EXIT_FAILED, EXIT_KEY_CHANGED, EXIT_REFUSED
from common.member import sentences
from common.member.conversation import Phase
from common.member.events import Line, Noticed, Undelivered
from common.member.narrator import Narrator
from common.member.uplink import Uplink
from common.view.view import View

LEAVE_S: Final = 2.0


class Leaving:
    """Owned by a member.

    Attributes:
        exit_code: set once the end has come.
        last_words: what remains to be said then.
        ended: why we are, on a screen that may still be read; "" if we are not.
        has_input: whether anybody can type.
        unsent: what a person was told was not sent, until `/resend` or `/drop`.
        goodbye: the number of our last line; 0 if there is none.
        has_changed_key: whether a program's words were kept from somebody here.
    """

    def __init__(
        self,
        settings: ClientConfig,
        view: View,
        uplink: Uplink,
        narrator: Narrator,
        clock: Callable[[], float],
    ) -> None:
        """Prepare for the end."""
        self._settings = settings
        self._view = view
        self._uplink = uplink
        self._narrator = narrator
        self._clock = clock
        self.exit_code: int | None = None
        self.last_words = ""
        self.ended = ""
        self.has_input = True
        self.unsent: list[Line] = []
        self.goodbye = 0
        self.has_changed_key = False
        self._end_code = EXIT_REFUSED
        self._leave_by_s: float | None = None
        self._echo_by_s: float | None = None
        """A program gives up on what waits then."""
        self._rows_lost = 0
        """What was not sent of a program, which can neither resend nor drop."""
        self._failures = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be said to the relay."""
        return self.exit_code is not None or bool(self.ended)

    def deadline(self) -> float | None:
        """Return when `tick` is next wanted."""
        times = (self._leave_by_s, self._echo_by_s)
        return min((at for at in times if at is not None), default=None)

    def tick(self, now: float) -> None:
        """Leave when that is due."""
        self._leave_when_done(now)
        if self._echo_by_s is not None and now >= self._echo_by_s:
            self._echo_by_s = None
            waiting = self._uplink.conversation.waiting
            if waiting:
                self.leave_with(waiting)
                if self.has_input:
                    self.last_words += " What followed was not read."

    def _leave_when_done(self, now: float) -> None:
        """Say LEAVE once everything before it is in the log, or time is up."""
        if self._leave_by_s is None:
            return
        conversation = self._uplink.conversation
        is_offline = conversation.phase is Phase.OFFLINE
        if conversation.phase is Phase.LIVE and not conversation.waiting:
            conversation.leave()
            self._leave_by_s = now + LEAVE_S
        elif self._uplink.was_welcomed and is_offline and self._is_all_said:
            self.leave_with(0)
        elif now >= self._leave_by_s:
            is_ended = conversation.phase is Phase.ENDED
            self.leave_with(0 if is_ended else conversation.waiting)

    @property
    def _is_all_said(self) -> bool:
        return not (self._uplink.conversation.waiting or self.unsent or self.has_input)

    # --- What was said, and what was not.

    def posted(self, now: float) -> None:
        """Note that a program said something."""
        self._echo_by_s = self._echo_by_s or now + self._settings.timeout_s

    def progressed(self) -> None:
        """Note that an echo came."""
        by_s = self._clock() + self._settings.timeout_s
        waiting = self._uplink.conversation.waiting
        self._echo_by_s = by_s if self._echo_by_s and waiting else None
        if self._leave_by_s is not None and not self.has_input:
            self._leave_by_s = by_s

    def failed(self) -> None:
        """Note that a program's words could not be sent at all."""
        self._failures += 1

    def undelivered(self, event: Undelivered) -> None:
        """Keep, or count, what will not be sent."""
        if self._settings.sends:  # nobody is there to send them again
            self._rows_lost += sentences.rows_of(event.lines)
        else:
            self.unsent += event.lines

    def _lines_lost(self) -> int:
        """Return how many lines of a program were not delivered; a message may hold several."""
        if not self._settings.sends:
            return 0
        conversation = self._uplink.conversation
        is_over = conversation.phase is Phase.ENDED
        return self._rows_lost + sentences.rows_of([] if is_over else conversation.waiting_lines())

    # --- The end.

    def quit(self, goodbye: str) -> None:
        """Leave: the goodbye first if it can be said, then LEAVE, two seconds at most."""
        uplink = self._uplink
        conversation = uplink.conversation
        if self._leave_by_s is not None or conversation.phase in (Phase.OFFLINE, Phase.JOINING):
            is_unsaid = uplink.was_welcomed and bool(goodbye.strip())
            self.leave_with(conversation.waiting + is_unsaid)
        elif conversation.phase is Phase.ENDED:
            self.exit_code = self._end_code if self.ended else 0
        else:
            if goodbye.strip():
                self.goodbye = conversation.say(goodbye)
            self._leave_by_s = self._clock() + LEAVE_S

    def input_ended(self, now: float) -> None:
        """Nobody can type any more: what was typed still goes out, then we leave."""
        # Who waits for N messages leaves once they came.
        if self._leave_by_s is None and not self._settings.tail:
            self._leave_by_s = now + self._settings.timeout_s
            self._leave_when_done(now)

    def leave_with(self, waiting: int) -> None:
        """End; whoever still had something to say is told so."""
        count = waiting + len(self.unsent) + self._rows_lost
        if count:
            self.last_words = sentences.undelivered_at_end(self._lines_lost() or count)
        if self.exit_code is None:
            changed = EXIT_KEY_CHANGED if self.has_changed_key else 0
            self.exit_code = EXIT_FAILED if count or self._failures else changed

    def end(self, sentence: str, exit_code: int) -> None:
        """Stop for good. Who was welcomed on a screen may go on reading; everybody else is done."""
        lost = self._lines_lost()
        for event in self._uplink.conversation.end():
            if isinstance(event, Noticed):  # for whoever joins, which we shall not
                self._narrator.noticed(event)
        self.ended, self._end_code = sentence, exit_code
        if lost:
            sentence = f"{sentence} {sentences.undelivered_at_end(lost)}"
        if self._uplink.was_welcomed and self.has_input and self._view.stays_open:
            self._narrator.notice(f"{sentence} /quit leaves.")
        else:
            self.last_words, self.exit_code = sentence, exit_code

    def interrupt(self) -> None:
        """Leave at once, with words for what is lost with us."""
        lost = self._lines_lost()
        if lost:
            self.last_words = sentences.undelivered_at_end(lost)
