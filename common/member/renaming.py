"""A session under another name, until it takes the place of ours (PROTOCOL.md 4.3).

Its link is opened first, as far as the relay's answer to HELLO: a name that is refused costs
nothing. Then the present session leaves, and this one joins on that link.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from common import names
from common.errors import UsageError
from common.member.conversation import Phase
from common.member.passwords import Passwords
from common.member.uplink import Ask, Over, Uplink
from common.wire.link import Opened

ADMIT_S: Final = 5.0
"""How long the relay may take to admit a new name, while the room is not read."""
LEAVE_S: Final = 2.0


class Renaming:
    """Owned by a member; at most one at a time."""

    def __init__(
        self, uplink: Uplink, passwords: Passwords, make_uplink: Callable[[str], Uplink]
    ) -> None:
        """Prepare; `make_uplink` returns one for a name, that does not join by itself."""
        self._present = uplink
        self._passwords = passwords
        self._make_uplink = make_uplink
        self._next: Uplink | None = None
        self._is_admitted = False
        self._by_s = 0.0

    @property
    def is_on(self) -> bool:
        """Whether another name was asked for, and nothing came of it yet."""
        return self._next is not None

    @property
    def unanswered(self) -> Uplink | None:
        """The connection of the other name, until the relay has admitted it."""
        return None if self._is_admitted else self._next

    def deadline(self) -> float | None:
        """Return when `tick` is next wanted."""
        return self._by_s if self._next is not None else None

    def begin(self, name: str, now: float) -> None:
        """Ask for another name; until the relay admits it, nothing changes.

        Raises:
            UsageError: if it cannot be had, or not now.
        """
        conversation = self._present.conversation
        name, present = names.username_from_user(name), conversation.username
        if name == present:
            raise UsageError(f"You are {present} already.")
        if names.key(name) == names.key(present):
            # The relay holds the name for the session that is to go.
            raise UsageError(
                f"{name} and {present} are one name. Leave and come back as {name}, "
                f"or you stay {present}."
            )
        if conversation.find(name) is not None:
            raise UsageError(f"The name {name} is in use. You stay {present}.")
        if self.is_on or conversation.phase is not Phase.LIVE:
            raise UsageError("Not now: wait until you are connected, then /nick again.")
        self._next, self._is_admitted, self._by_s = self._make_uplink(name), False, now + ADMIT_S

    def drop(self) -> None:
        """Give the other name up."""
        if self._next is not None:
            self._next.close()
        self._next, self._is_admitted = None, False

    def tick(self, now: float) -> str | None:
        """Go on: leave once all is said and the new name is admitted.

        Returns:
            Why nothing came of it, in a sentence; None while something may.
        """
        following = self._next
        while following is not None and following.open_record(now) is not None:
            pass
        while following is not None and (event := following.next_event()) is not None:
            match event:
                case Opened():
                    self._is_admitted, self._by_s = True, now + LEAVE_S
                case Ask() if self._passwords.refused(now):
                    following.wants_dial, self._by_s = True, now + ADMIT_S
                case Ask() | Over() if event.refused is not None:
                    return event.sentence
                case Over():
                    return "The connection was lost."
                case _:
                    pass
        conversation = self._present.conversation
        if following is None or conversation.phase is Phase.ENDED:
            return None
        if self._is_admitted and not conversation.waiting:
            conversation.leave()
            self._by_s = now + LEAVE_S
        elif now >= self._by_s:
            return "The relay took too long."
        return None

    @property
    def has_left(self) -> bool:
        """Whether the present session is over, and the next can take its place."""
        return self._next is not None and self._present.conversation.phase is Phase.ENDED

    def is_late(self, now: float) -> bool:
        """Tell whether the echo of our LEAVE has been waited for long enough."""
        return self.has_left and now >= self._by_s

    def change_over(self, now: float) -> None:
        """Join under the other name: we have left."""
        if self._next is not None:
            following, self._next = self._next, None
            self._is_admitted = False
            self._present.take_over(following, now)
