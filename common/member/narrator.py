"""What happens is told to the view: who came, what was said, what is wrong, where we stand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from common import names
from common.config import ClientConfig
from common.member import sentences
from common.member.conversation import Conversation, Phase
from common.member.events import (
    AwayChanged,
    Back,
    Came,
    Joined,
    Left,
    Noticed,
    PasswordTold,
    Peer,
    Said,
    Undelivered,
    Warned,
)
from common.member.folding import Folding
from common.member.policy import Policy
from common.member.trust import Standing
from common.member.uplink import Uplink
from common.term.text import clean, displayed, width
from common.view.view import Message, Presence, Summary, View
from common.wire.records import MemberId, Reason

RETURN_S = 2.0
"""What comes so soon after a suspension came during it."""
RENAMED_S = 2.0
"""How long the row of one who left waits: who comes back under another name gets one for both."""
SPEAKERS_KEPT = 256


@dataclass(slots=True)
class Ignored:
    """Somebody whose messages are hidden, and how many were."""

    name: str
    count: int = 0


@dataclass(slots=True)
class _Gone:
    """A row of one who left, which waits for another name until then."""

    presence: Presence
    peer: Peer
    reason: Reason
    until_s: float


class Narrator:
    """Owned by a member.

    Attributes:
        ignored: whose messages are hidden, by identity.
        heard_s: when members last said something.
        reply_to: identity and name of who wrote the last direct message.
        speakers: who said something, the last first.
    """

    def __init__(
        self,
        settings: ClientConfig,
        view: View,
        uplink: Uplink,
        policy: Policy,
        clock: Callable[[], float],
        at_ms: Callable[[], int],
    ) -> None:
        """Tell this view."""
        self._settings = settings
        self._view = view
        self._uplink = uplink
        self._policy = policy
        self._clock = clock
        self._at_ms = at_ms
        self.ignored: dict[bytes, Ignored] = {}
        self.heard_s: dict[MemberId, float] = {}
        self.reply_to: tuple[bytes, str] | None = None
        self.speakers: list[str] = []
        self._folding = Folding(view, clock)
        self._leaving: dict[bytes, _Gone] = {}
        self._look_alikes: set[MemberId] = set()
        self._return: tuple[float, float] | None = None
        self._hint = ""
        self._name_cells = 0
        self._last_status: Summary | None = None

    @property
    def _conversation(self) -> Conversation:
        return self._uplink.conversation

    # --- Sentences.

    def notice(self, sentence: str) -> None:
        """Tell something in a row."""
        self._view.notice(sentence, self._at_ms())

    def tell(self, sentence: str) -> None:
        """Tell what a command came to nothing for."""
        self._view.tell(sentence, self._at_ms())

    def warn(self, sentence: str) -> None:
        """Tell what must catch the eye."""
        self._view.warn(sentence, self._at_ms())

    def rows(self, rows: list[str]) -> None:
        """Show what a command yielded."""
        self._view.answer(rows, self._at_ms())

    def relay_says(self, words: str) -> None:
        """Show the relay's own words as such."""
        self.notice(sentences.relay_says(words))

    def noticed(self, event: Noticed) -> None:
        """Show what the relay says to all, if that is anybody's here."""
        if self._policy.hears_notices:
            self.relay_says(event.text)

    def suspended(self, now: float, for_s: float) -> None:
        """Note that nobody could look for so long."""
        self._return = (now, for_s)

    # --- Who is here.

    def joined(self, event: Joined, *, is_anew: bool, is_renamed: bool) -> None:
        """Tell that we are in, perhaps not for the first time, and who is."""
        conversation, now = self._conversation, self._clock()
        if is_anew and self._settings.is_pipe:
            self.warn(sentences.ANEW)
        self.heard_s = {peer.number: now for peer in event.others}
        if is_renamed:
            self.notice(f"You are now {conversation.username}. {conversation.members} here.")
        else:
            self._policy.joined(event, conversation, self._uplink.address)
        self._hint = sentences.HINT
        here = [conversation.username, *(peer.name for peer in event.others)]
        self._name_cells = max(map(_cells, here))
        self._look_alikes.clear()
        for peer in event.others:
            self._compare_name(peer)

    def back(self, event: Back, lost_at_s: float | None) -> None:
        """Tell that the gap is filled."""
        now = self._clock()
        self.notice(sentences.back(event, now - (lost_at_s or now)))

    def came(self, event: Came) -> bool:
        """Tell that somebody joined; False if it is one who was here under another name."""
        peer, here = event.peer, self._conversation.members
        self.heard_s[peer.number] = self._clock()
        self._name_cells = max(self._name_cells, _cells(peer.name))
        gone = self._leaving.get(peer.card.identity)
        is_renamed = gone is not None and gone.presence.name != peer.name
        sentence = sentences.came(event, here)
        if gone is not None and is_renamed:
            del self._leaving[peer.card.identity]
            sentence = sentences.renamed(gone.presence.name, peer.name, here)
        self.show_leaving(None)
        presence = self._presence(peer, sentence, event.at_ms, peer.came_seq)
        if is_renamed:
            self._view.moved(presence)
        else:
            self._policy.came(presence, peer)
        self._compare_name(peer)
        return not is_renamed

    def left(self, event: Left) -> None:
        """Tell that somebody left: a moment later, if it may only have been for another name."""
        peer, identity = event.peer, event.peer.card.identity
        self.heard_s.pop(peer.number, None)
        sentence = sentences.left(event, self._conversation.members)
        presence = self._presence(peer, sentence, event.at_ms, event.seq, is_coming=False)
        # A program keeps count by names, and one row for both would leave the former here for ever.
        may_return = event.reason is Reason.LEFT and not self._settings.is_pipe
        if may_return and identity not in self._leaving:
            until_s = self._clock() + RENAMED_S
            self._leaving[identity] = _Gone(presence, peer, event.reason, until_s)
        else:
            self.show_leaving(None)
            self._policy.left(presence, peer, event.reason)

    def show_leaving(self, now: float | None) -> None:
        """Show who left, in order, without waiting for another name; all of them without a time."""
        for identity, gone in list(self._leaving.items()):
            if now is None or now >= gone.until_s:
                del self._leaving[identity]
                self._policy.left(gone.presence, gone.peer, gone.reason)

    def deadline(self) -> float | None:
        """Return when `tick` is next wanted."""
        times = [gone.until_s for gone in self._leaving.values()]
        owed_s = self._folding.deadline()
        return min(times if owed_s is None else [*times, owed_s], default=None)

    def tick(self, now: float) -> None:
        """Show what has waited long enough."""
        self.show_leaving(now)
        self._folding.tick(now)

    def close(self) -> None:
        """Show what waits: nothing more will come."""
        self.show_leaving(None)
        self._folding.close()

    def _presence(
        self, peer: Peer, sentence: str, at_ms: int, seq: int, *, is_coming: bool = True
    ) -> Presence:
        here = self._conversation.members
        is_verified = peer.standing is Standing.VERIFIED
        identity = peer.card.identity
        return Presence(peer.name, identity, sentence, at_ms, is_coming, here, is_verified, seq)

    def _compare_name(self, peer: Peer) -> None:
        """Tell a new name from one here that it looks like."""
        others = [other for other in self._conversation.peers.values() if other is not peer]
        row = names.look_alike(
            peer.name, [self._conversation.username, *(other.name for other in others)]
        )
        if row is not None:
            # Who is known is not the one that looks like another, whoever came first.
            alike = [other for other in others if names.look_alike(peer.name, [other.name])]
            new = [one for one in (peer, *alike) if one.is_new] or [peer]
            self._look_alikes.update(one.number for one in new)
            self._folding.show(row, self._at_ms(), is_loud=True)

    def names_here(self) -> list[str]:
        """Return the names of the others, the last speaker first."""
        here = sorted(peer.name for peer in self._conversation.peers.values())
        spoke = [name for name in self.speakers if name in here]
        return [*spoke, *(name for name in here if name not in spoke)]

    def ignore(self, peer: Peer) -> None:
        """Hide what a member says from now on, and count it."""
        self.ignored.setdefault(peer.card.identity, Ignored(peer.name))

    # --- What is said.

    def said(self, said: Said, *, is_goodbye: bool) -> None:
        """Show a text, or count it if its author is ignored; is_goodbye: it is our own last one."""
        peer = said.peer
        if peer is not None and self._is_hidden(peer):
            self.heard_s[peer.number] = self._clock()
            return
        self._hint = ""
        returned_s, away_s = self._return or (0.0, 0.0)
        if self._return and self._clock() - returned_s < RETURN_S:
            self.notice(f"Back after {sentences.duration(away_s)}.")
        self._return = None
        if peer is None:
            message = Message(
                self._conversation.username,
                b"",
                said.text,
                said.at_ms,
                is_own=True,
                is_direct=said.is_direct,
                line=said.line,
                to=said.to,
                seq=said.seq,
            )
        else:
            message = self._heard(said, peer)
        self._policy.said(message, is_goodbye=is_goodbye)

    def _heard(self, said: Said, peer: Peer) -> Message:
        self.heard_s[peer.number] = self._clock()
        if said.is_direct:
            self.reply_to = (peer.card.identity, peer.name)
        others = (name for name in self.speakers if name != peer.name)
        self.speakers = [peer.name, *others][:SPEAKERS_KEPT]
        return Message(
            peer.name,
            peer.card.identity,
            said.text,
            said.at_ms,
            is_direct=said.is_direct,
            is_verified=peer.standing is Standing.VERIFIED,
            is_look_alike=peer.number in self._look_alikes,
            seq=said.seq,
        )

    def _is_hidden(self, peer: Peer) -> bool:
        """Tell whether a member is ignored; then something of it is counted, and not shown."""
        ignored = self.ignored.get(peer.card.identity)
        if ignored is not None:
            ignored.count += 1
        return ignored is not None

    def away_changed(self, event: AwayChanged) -> None:
        """Tell that somebody went away, or is back, if such rows are wanted."""
        self.heard_s[event.peer.number] = self._clock()
        is_ignored = event.peer.card.identity in self.ignored
        if not is_ignored and self._view.options.joins == "on":
            self._view.notice(sentences.away_changed(event), event.at_ms)

    def password_told(self, told: PasswordTold) -> None:
        """Tell which password a member told, or that ours was."""
        if told.peer is None:
            self.notice("The new password was told to all who are here and trusted.")
        elif not self._is_hidden(told.peer):
            self.notice(sentences.password_told(told.peer.name, told.password))

    def warned(self, event: Warned) -> None:
        """Tell what is wrong with a member or a message."""
        is_loud = event.trouble in sentences.LOUD
        if is_loud or not self._is_hidden(event.peer):
            self._folding.show(sentences.warned(event), event.at_ms, is_loud=is_loud)

    def unpinned(self) -> None:
        """Tell that who is new cannot be remembered."""
        self._folding.show(sentences.UNPINNED, self._at_ms(), is_loud=True)

    def undelivered(self, event: Undelivered) -> None:
        """Tell what will not be sent."""
        self.warn(sentences.undelivered(event, of_program=self._settings.sends))

    # --- Where we stand.

    def status(self, now: float, *, ended: str, is_away: bool) -> None:
        """Tell the view where we stand, if that has changed; ended: why we are, or ""."""
        conversation = self._conversation
        changed = tuple(
            peer.name for peer in conversation.peers.values() if peer.standing is Standing.CHANGED
        )
        status = Summary(
            names.room_for_user(conversation.room),
            conversation.username,
            conversation.members,
            f"ended: {ended}" if ended else self._state(now),
            conversation.waiting if conversation.phase is not Phase.LIVE else 0,
            changed,
            self._hint,
            is_away,
            self._name_cells,
        )
        if status != self._last_status:
            self._last_status = status
            self._view.status(status)

    def _state(self, now: float) -> str:
        retry_at_s = self._uplink.retry_at_s
        match self._conversation.phase:
            case Phase.LIVE | Phase.ENDED:
                return ""
            case Phase.JOINING:
                return "joining"
            case Phase.CATCHING_UP:
                return "catching up"
            case Phase.OFFLINE if retry_at_s is not None:
                return f"offline, retry in {max(0, round(retry_at_s - now))} s"
            case Phase.OFFLINE:
                return "connecting"


def _cells(name: str) -> int:
    """Return how wide a name is drawn."""
    return width(displayed(clean(name, multiline=False)))
