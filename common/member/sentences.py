"""What each event says: the sentences of both views.

UX.md 4, 7, 8. Names in them are as their owners wrote them; a view cleans whole rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from common import names
from common.crypto.identity import fingerprint
from common.errors import Refused
from common.member.conversation import Conversation
from common.member.events import (
    AwayChanged,
    Back,
    Came,
    Joined,
    Left,
    Line,
    Peer,
    Trouble,
    Undelivered,
    Warned,
)
from common.member.relays import Kept
from common.member.trust import Grade, Standing
from common.wire.records import MemberId, Reason

IDLE_S = 60.0
"""Without a word, from which on `/who` tells how long."""
SHORT_DIGITS = 5
"""Of a fingerprint, where one row names a newcomer."""

_REASONS = {
    Reason.LEFT: "left",
    Reason.LOST: "connection lost",
    Reason.REMOVED: "removed by the operator",
    Reason.REPLACED: "back under a new session",
}
_STATUSES = {
    400: "protocol error (a bug, or an attack on the network)",
    401: "wrong KEY or password",
    403: "you were removed by the operator",
    404: "no such room",
    408: "timed out",
    409: "the name {name} is in use. Choose another with --username",
    410: "cannot resume, too much was missed",
    412: "our view of the log was too old",
    423: "the room is locked",
    426: "the relay speaks another version",
    429: "too many wrong passwords came from your address. Try again in a minute",
    502: "status 502: a proxy there cannot reach the relay",
    503: "the relay is shutting down, or not ready yet. Try again later",
    504: "status 504: a proxy there cannot reach the relay",
    505: "status 505: a proxy there does not pass on the upgrade to a WebSocket",
    507: "the relay is full. Try again later",
}

AWAY = "away"
"""What `/away` says where no reason is given."""

WHO_READS = (
    "Who is here reads what is said from then on, and nothing from before.",
    "/msg: NAME alone. Nobody whom /who calls CHANGED or not invited.",
    "The relay reads no text: it sees names, addresses, when and how much.",
    "KEY and password let anybody in, in sight. /invite keeps others out.",
    "First seen is no proof of who it is: /verify NAME, over a call, is.",
)
"""The rows of `/help security`: PROTOCOL.md 1, as far as a person can act on it."""

HINT = "Enter sends. PgUp scrolls. /help. Ctrl-C leaves."

UNPINNED = (
    "There is no room for more of this relay's names in known_peers: whoever is new is forgotten "
    "when you leave, and another key of theirs would not be noticed. Remove lines that you do not "
    "need from the file."
)

SHUT_OUT = "Enter takes another password; those that are known are tried again every minute."

UNTOLD = "The new password may not have been told to all."

ANEW = "We were away too long: what was said meanwhile is lost."

LOUD = frozenset((Trouble.UNAUTHENTIC, Trouble.CHANGED, Trouble.NOT_INVITED))
"""What must catch the eye, whoever is ignored; the rest are notices."""


def duration(seconds: float) -> str:
    """Return a length of time in its largest whole unit."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"


def short_fingerprint(peer: Peer) -> str:
    """Return the digits that one row shows of a member."""
    return fingerprint(peer.card.identity, peer.name)[:SHORT_DIGITS]


def first_rows(joined: Joined, conversation: Conversation) -> list[str]:
    """Return what a newcomer reads first (UX.md 8)."""
    room = names.room_for_user(conversation.room)
    rows = [f"Connected to {room} as {conversation.username}."]
    others = joined.others
    if not others:
        return [*rows, "Nobody else is here yet."]
    here = [conversation.username, *(peer.name for peer in others)]
    rows.append(f"{len(here)} here: {_listed(here)}.")
    new = [f"{peer.name} (fingerprint {short_fingerprint(peer)})" for peer in others if peer.is_new]
    if new:
        rows.append(f"First seen: {_listed(new)}. Compare with /verify NAME.")
    return [*rows, "Earlier messages are not shown to newcomers."]


def _listed(items: Sequence[str], most: int = 20) -> str:
    more = len(items) - most
    return ", ".join(items[:most]) + (f" and {more} more" if more > 0 else "")


def came(event: Came, here: int) -> str:
    """Say that somebody joined."""
    peer = event.peer
    state = "first seen" if peer.is_new else peer.standing.value
    if peer.standing is Standing.FIRST_SEEN and not peer.is_new:
        state = "seen before"
    return f"{peer.name} joined (fingerprint {short_fingerprint(peer)}, {state}). {here} here"


def left(event: Left, here: int) -> str:
    """Say that somebody left, and why."""
    peer = event.peer
    stayed_ms = event.at_ms - peer.came_ms
    after = f" after {duration(stayed_ms / 1000)}" if peer.came_ms and stayed_ms >= 0 else ""
    why = "" if event.reason is Reason.LEFT else f": {_REASONS[event.reason]}"
    return f"{peer.name} left{after}{why}. {here} here"


def renamed(old: str, new: str, here: int) -> str:
    """Say that a member goes on under another name."""
    return f"{old} is now {new}. {here} here"


def away_changed(event: AwayChanged) -> str:
    """Say that somebody went away, or is back."""
    return away(event.peer, event.reason) if event.reason else f"{event.peer.name} is back."


def away(peer: Peer, reason: str) -> str:
    """Say that somebody is away, and why."""
    return f"{peer.name} is away{_reason(reason)}."


def _reason(text: str) -> str:
    return "" if text == AWAY else f": {text}"


def own_away(text: str) -> str:
    """Say that we are."""
    return f"You are away{_reason(text)}. What you type next ends it."


def password_told(name: str, password: str) -> str:
    """Say which password a member told."""
    return f"{name} told a new password: {password}   It is tried when you connect again."


def warned(event: Warned) -> str:
    """Say what is wrong (PROTOCOL.md 5.2, 5.3, 6.1)."""
    name = event.peer.name
    match event.trouble:
        case Trouble.UNAUTHENTIC:
            return (
                f"A message claiming to be from {name} failed authentication: it is forged or "
                "replayed, or the relay shows you different histories."
            )
        case Trouble.UNREADABLE:
            return (
                f"A message from {name} could not be read: {name} gave you no key for it, "
                "and may not trust yours."
            )
        case Trouble.HIDDEN:
            return f"A message from {name} was hidden."
        case Trouble.MALFORMED:
            return f"A malformed message came from {name}."
        case Trouble.UNSUPPORTED:
            return f"An unsupported message came from {name}. A newer version may show it."
        case Trouble.KEY_UNREADABLE:
            return f"A key from {name} could not be opened."
        case Trouble.CHANGED:
            return (
                f"{name}'s identity key has CHANGED. Not sending to or showing {name} "
                f"until /trust {name}."
            )
        case Trouble.NOT_INVITED:
            return f"{name} was not invited. Not sending to or showing {name}."


def times(sentence: str, count: int) -> str:
    """Say how often something was so."""
    return sentence if count == 1 else f"{sentence} ({count} times in a minute)"


def relay_says(words: str) -> str:
    """Return the relay's own words as such."""
    return f"The relay says: {words}"


def back(event: Back, away_s: float) -> str:
    """Say that the gap is filled."""
    plural = "message" if event.missed == 1 else "messages"
    return f"Back after {duration(away_s)}. {event.missed or 'No'} {plural} came in meanwhile."


def rows_of(lines: Sequence[Line]) -> int:
    """Return how many lines a program wrote, of which a message may hold several."""
    return sum(line.text.count("\n") + 1 for line in lines)


def undelivered(event: Undelivered, *, of_program: bool) -> str:
    """Say which lines were not sent, why, and what a person can do."""
    count = rows_of(event.lines) if of_program else len(event.lines)
    what = "1 line was" if count == 1 else f"{count} lines were"
    remedy = "" if of_program else " /resend or /drop."
    to = list({line.to.name: "" for line in event.lines if line.to})
    # A room's log shows what a relay says of it; of what is for one member nobody else knows.
    readers = list({line.to.name: "" for line in event.lines if line.to and line.is_sealed})
    theirs = "it" if count == 1 else "what was for one alone"
    doubt = f" {_listed(readers)} may have read {theirs}." if readers else ""
    if event.is_over:
        return f"{what} not sent: others may have joined.{doubt}{remedy}"
    if event.why:
        return f"{what} not sent. The relay says: {event.why}{doubt}{remedy}"
    have = "has" if len(to) == 1 else "have"
    return f"{what} not sent: {_listed(to)} {have} left, or is not trusted.{doubt}{remedy}"


def resent(count: int, kept: Sequence[str]) -> str:
    """Say what came of `/resend`; `kept`: who is not here to be sent theirs."""
    what = "1 line was" if count == 1 else f"{count} lines were"
    here = "is" if len(kept) == 1 else "are"
    missing = f" {_listed(kept)} {here} not here any more: /drop gives up what is left."
    return f"{what} sent again.{missing if kept else ''}"


def dropped(count: int) -> str:
    """Say what `/drop` did."""
    return "1 line was dropped." if count == 1 else f"{count} lines were dropped."


def undelivered_at_end(count: int) -> str:
    """Say what is lost with us."""
    return "1 line was not delivered." if count == 1 else f"{count} lines were not delivered."


def refused(refusal: Refused, username: str, of: str = "relay") -> str:
    """Say what the relay decided; what came as a bare HTTP status may be the network's."""
    words = _STATUSES.get(refusal.status, f"status {refusal.status}").format(name=username)
    if not refusal.authentic:
        return unproven(f"{words}.", of)
    said = f" It says: {refusal.text}" if refusal.text else ""
    return f"{words[:1].upper()}{words[1:]}.{said}"


def unproven(words: str, of: str = "relay") -> str:
    """Say who answered, where nothing proves that it was whom we asked (PROTOCOL.md 3.3)."""
    return f"The {of} or the network answered: {words}"


def who(
    conversation: Conversation,
    away_text: str,
    hidden: Mapping[bytes, int],
    heard_s: Mapping[MemberId, float],
    now: float,
) -> list[str]:
    """Return one row per member, we first.

    Args:
        conversation: whose members they are.
        away_text: why we are away; "" if we are not.
        hidden: how many messages of an ignored identity were hidden.
        heard_s: when each last said something, on the clock of `now`.
        now: seconds.
    """
    own = fingerprint(conversation.identity.public, conversation.username)
    is_away = f", {AWAY}{_reason(away_text)}" if away_text else ""
    rows = [f"{conversation.username} (you{is_away})  {_grouped(own)}"]
    for peer in sorted(conversation.peers.values(), key=lambda peer: peer.name.casefold()):
        state = peer.standing.value
        pin = conversation.pin(peer)
        if peer.standing is Standing.FIRST_SEEN and pin is not None:
            state = f"first seen {pin.date}"
        idle_s = now - heard_s.get(peer.number, now)
        if idle_s >= IDLE_S:
            state += f", idle {duration(idle_s)}"
        if peer.away:
            state += f", {AWAY}{_reason(peer.away)}"
        if peer.card.identity in hidden:
            state += f", ignored, {hidden[peer.card.identity]} hidden"
        digits = _grouped(fingerprint(peer.card.identity, peer.name))
        mark = "+" if peer.standing is Standing.VERIFIED else " "
        rows.append(f"{mark} {peer.name}  {state}  {digits}")
    return rows


def _grouped(digits: str) -> str:
    return " ".join(digits[at : at + 5] for at in range(0, len(digits), 5))


def own_fingerprint(conversation: Conversation) -> list[str]:
    """Return our fingerprint, whole."""
    digits = fingerprint(conversation.identity.public, conversation.username)
    return [f"Your fingerprint as {conversation.username}:", f"    {_grouped(digits)}"]


def safety_number(conversation: Conversation, peer: Peer, number: str) -> list[str]:
    """Return what two people compare, and how."""
    groups = number.split(" ")
    rows = ["    " + " ".join(groups[at : at + 6]) for at in range(0, len(groups), 6)]
    return [
        f"Safety number of {conversation.username} and {peer.name}:",
        *rows,
        f"Read it to {peer.name} by another way, such as a call. If both screens show the same: "
        f"/verify {peer.name} yes",
    ]


def changed_keys(conversation: Conversation, peer: Peer) -> list[str]:
    """Return the fingerprint that was known under a name, and the one it has now."""
    pin = conversation.pin(peer)
    old = "none" if pin is None else _grouped(fingerprint(pin.identity, peer.name))
    return [
        f"Fingerprint of {peer.name}, as it was known and as it is now:",
        f"    {old}",
        f"    {_grouped(fingerprint(peer.card.identity, peer.name))}",
        f"Ask {peer.name} by another way, such as a call, whether the key is new.",
    ]


def pinned(peer: Peer, grade: Grade) -> str:
    """Say what a pin means now."""
    if grade is Grade.VERIFIED:
        return f"{peer.name} is verified."
    return f"{peer.name} is trusted with the new key. Compare it with /verify {peer.name}."


def ignored(counts: Mapping[str, int]) -> str:
    """Say whom we ignore, and how much of each was hidden."""
    if not counts:
        return "You ignore nobody."
    return f"Ignored: {_listed([f'{name} ({count} hidden)' for name, count in counts.items()])}."


def shown_again(counts: Mapping[str, int]) -> str:
    """Say whom we ignore no longer, and what was hidden."""
    hidden = _listed([f"{count} from {name} hidden" for name, count in counts.items()])
    verb = "is" if len(counts) == 1 else "are"
    return f"{_listed(list(counts))} {verb} shown again: {hidden}."


def invitation(*, is_used: bool) -> tuple[str, str]:
    """Return what stands above and below a `KEY.SECRET`."""
    above = "Whoever starts with this trusts all others who do, and nobody else:"
    if is_used:
        return above, "You did too. After removing somebody: /invite new"
    return above, "You did not yet: let all take it, then leave and start with it as well."


def forgotten(kept: Kept | None, pins: int) -> str:
    """Say what was kept of a relay, and is not any more."""
    parts = [] if kept is None else [f"the name {kept.username}", *["KEY"] * bool(kept.key)]
    parts += [f"{pins} pin{'s' * (pins != 1)}"] * bool(pins)
    if not parts:
        return "Nothing was kept of this relay."
    return f"Forgotten of this relay: {', '.join(parts)}."
