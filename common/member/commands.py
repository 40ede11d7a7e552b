"""What can be done: a command is a row and a function.

From its row follow parsing, prefixes, help, usage and what Tab completes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from common import names, qr
from common.crypto import ticket
from common.crypto.identity import safety_number
from common.errors import UsageError
from common.member import contents, sentences
from common.member.events import Line
from common.member.passwords import Rank
from common.member.person import Person
from common.member.trust import Grade, Standing
from common.term.complete import Argument
from common.view.view import MEANINGS, VALUES
from common.wire import orders

Words = tuple[str, ...]
Completes = Argument | Sequence[str] | Callable[[Person], Sequence[str]]

COPIED: Final = 50
NAMES_LISTED: Final = 50


class Command(NamedTuple):
    """One command.

    Attributes:
        name: with its slash.
        arguments: how they are written.
        meaning: for `/help`.
        do: carries it out; what `read` returned follows the person.
        read: takes what stands behind the name, stripped, and the whole line; None if it is wrong.
        completes: what Tab completes, argument by argument; the last stands for all that follow.
        is_whole: whether it must be typed out: a slip of the finger would cost too much.
        needs_history: whether a view without a history has no use for it.
        is_listed: False if the row of another names it: the list fits a terminal of 24 rows.
        keeps_away: whether who is away stays so.
    """

    name: str
    arguments: str
    meaning: str
    do: Callable[..., None]
    read: Callable[[str, str], Words | None]
    completes: Sequence[Completes] = ()
    is_whole: bool = False
    needs_history: bool = False
    is_listed: bool = True
    keeps_away: bool = False

    @property
    def usage(self) -> str:
        """How it is typed."""
        return f"{self.name} {self.arguments}".rstrip()


class Call(NamedTuple):
    """A command, and what it is given."""

    command: Command
    given: Words

    def __repr__(self) -> str:
        """Hide what is given, which may be a password."""
        return f"Call({self.command.name})"


# --- Arguments.


def _nothing(rest: str, _line: str) -> Words | None:
    return None if rest else ()


def _word(rest: str, _line: str) -> Words | None:
    return (rest,) if len(rest.split()) == 1 else None


def _maybe_word(rest: str, _line: str) -> Words | None:
    return (rest,) if len(rest.split()) <= 1 else None


def _maybe_text(rest: str, _line: str) -> Words | None:
    return (rest,)


def _whole_text(_rest: str, line: str) -> Words | None:
    """Read a text of any rows, its blanks as they are."""
    words = line.split(None, 1)
    return (words[1],) if len(words) == 2 else None


def _name_and_text(_rest: str, line: str) -> Words | None:
    words = line.split(None, 2)
    return (words[1], words[2]) if len(words) == 3 else None


def _deed(rest: str, line: str) -> Words | None:
    # On the wire it is a text that begins so; each client shows it as it likes.
    return (f"/me {line.partition(' ')[2]}",) if rest else None


def _verifying(rest: str, _line: str) -> Words | None:
    words = rest.split()
    if len(words) <= 1:
        return (rest, "")
    return (words[0], words[1]) if len(words) == 2 and words[1] in ("yes", "no") else None


def _new_or_qr(rest: str, _line: str) -> Words | None:
    return (rest,) if rest in ("", "new", "qr") else None


def _count(rest: str, _line: str) -> Words | None:
    words = rest.split()
    flag = "-t" if words[:1] == ["-t"] else ""
    number = words[bool(flag) :] or [str(COPIED)]
    return (number[0], flag) if len(number) == 1 and _is_count(number[0]) else None


def _is_count(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= 6 and 0 < int(word) <= 100_000


def _setting(rest: str, _line: str) -> Words | None:
    name, _, value = rest.partition(" ")
    return (name, value.strip())


# --- Saying.


def say(me: Person, text: str) -> None:
    """Say a text to the room."""
    _typed(me, me.conversation.say(text), text)


def _typed(me: Person, line: int, text: str, to: str = "") -> None:
    me.view.typed(line, text, to, me.at_ms())


def direct(me: Person, name: str, text: str) -> None:
    """Say a text to one member, or nothing to anybody."""
    conversation = me.conversation
    if names.key(name) == names.key(conversation.username):
        raise UsageError(f"{name} is you. Nothing was sent.")
    peer = conversation.find(name)
    if peer is None:
        raise UsageError(f"Nobody here is called {name}. Nothing was sent. /who lists who is.")
    if not peer.is_trusted:
        raise UsageError(f"{peer.name} is not trusted. Nothing was sent. /who says why.")
    _typed(me, conversation.say(text, peer), text, peer.name)
    if peer.away:
        me.narrator.notice(sentences.away(peer, peer.away))


def reply(me: Person, text: str) -> None:
    """Say a text to whoever wrote to us alone, under the name they have now."""
    if me.narrator.reply_to is None:
        raise UsageError("Nobody has written to you alone yet. Nothing was sent.")
    identity, name = me.narrator.reply_to
    peers = me.conversation.peers.values()
    found = [peer.name for peer in peers if peer.card.identity == identity]
    # Whoever has the name by now may be another.
    if name not in found and len(found) != 1:
        raise UsageError(f"{name} is not here any more. Nothing was sent.")
    direct(me, name if name in found else found[0], text)


def resend(me: Person) -> None:
    """Say again what was not sent: to those who are here now, and to whom it was meant for."""
    conversation, unsent = me.conversation, me.leaving.unsent
    if not unsent:
        raise UsageError("There is nothing to resend.")
    kept: list[Line] = []
    total = len(unsent)
    for line in list(unsent):
        peer = conversation.find(line.to.name) if line.to else None
        # Whoever has the name by now may be somebody else.
        is_same = peer and line.to and peer.card.identity == line.to.card.identity
        if line.to and not (is_same and peer and peer.is_trusted):
            kept.append(line)
            continue
        number = conversation.say(line.text, peer)
        # At once: `say` may refuse the next one, and this one would be said again.
        unsent.remove(line)
        me.view.untyped(line.number)
        _typed(me, number, line.text, line.to.name if line.to else "")
    absent = {line.to.name: "" for line in kept if line.to}
    me.narrator.notice(sentences.resent(total - len(kept), list(absent)))


def drop(me: Person) -> None:
    """Give up what was not sent."""
    unsent = me.leaving.unsent
    if not unsent:
        raise UsageError("There is nothing to drop.")
    for line in unsent:
        me.view.untyped(line.number)
    me.narrator.notice(sentences.dropped(len(unsent)))
    unsent.clear()


# --- People.


def who(me: Person) -> None:
    """List the members."""
    narrator = me.narrator
    hidden = {identity: found.count for identity, found in narrator.ignored.items()}
    rows = sentences.who(me.conversation, me.away, hidden, narrator.heard_s, me.clock())
    narrator.rows(rows)


def list_names(me: Person) -> None:
    """Tell in one row who is here, we first."""
    others = sorted(me.narrator.names_here(), key=str.casefold)
    here = [me.conversation.username, *others]
    more = len(here) - NAMES_LISTED
    tail = f" and {more} more" if more > 0 else ""
    me.narrator.rows([f"{len(here)} here: {', '.join(here[:NAMES_LISTED])}{tail}."])


def ignore(me: Person, name: str) -> None:
    """Hide what a member says; "" lists whom we ignore."""
    ignored = me.narrator.ignored
    if not name:
        counts = {found.name: found.count for found in ignored.values()}
        me.narrator.rows([sentences.ignored(counts)])
        return
    peer = me.peer(name)
    me.narrator.ignore(peer)
    me.narrator.notice(f"{peer.name} is ignored, but for warnings. /unignore {peer.name} ends it.")


def unignore(me: Person, name: str) -> None:
    """Show again what a member says; "" for everybody."""
    key, ignored = names.key(name), me.narrator.ignored
    ended = {
        identity: found
        for identity, found in ignored.items()
        if not name or names.key(found.name) == key
    }
    if not ended:
        raise UsageError(f"You do not ignore {name or 'anybody'}.")
    for identity in ended:
        del ignored[identity]
    counts = {found.name: found.count for found in ended.values()}
    me.narrator.notice(sentences.shown_again(counts))


def away(me: Person, reason: str) -> None:
    """Be away, for a reason or none."""
    reason = reason or sentences.AWAY
    me.conversation.tell_away(reason)
    me.away = reason
    me.narrator.notice(sentences.own_away(reason))


def nick(me: Person, name: str) -> None:
    """Go on under another name."""
    me.policy.check_rename()
    if me.leaving.unsent:
        raise UsageError("Not now: /resend or /drop what was not sent, then /nick again.")
    me.renaming.begin(name, me.clock())


# --- Trust.


def verify(me: Person, name: str, answer: str) -> None:
    """Show a safety number, or our own fingerprint; with an answer, note that it was compared."""
    conversation, narrator = me.conversation, me.narrator
    if not name or names.key(name) == names.key(conversation.username):
        narrator.rows(sentences.own_fingerprint(conversation))
        return
    peer = me.peer(name)
    number = safety_number(
        conversation.identity.public, conversation.username, peer.card.identity, peer.name
    )
    if not answer:
        me.shown_numbers.add(number)
        narrator.rows(sentences.safety_number(conversation, peer, number))
    elif answer == "no":
        narrator.notice(f"{peer.name} stays as it was. Do not tell {peer.name} any secret.")
    elif number not in me.shown_numbers:
        raise UsageError(f"Compare the safety number first: /verify {peer.name}")
    else:
        conversation.verify(peer)
        narrator.notice(sentences.pinned(peer, Grade.VERIFIED))


def trust(me: Person, name: str) -> None:
    """Pin a member's identity anew, once its name was typed again."""
    peer = me.peer(name)
    if peer.standing is not Standing.CHANGED:
        raise UsageError(f"The identity key of {peer.name} has not changed. Nothing was done.")
    identity = peer.card.identity
    me.narrator.rows(sentences.changed_keys(me.conversation, peer))

    def confirmed(answer: str | None) -> None:
        # Whoever is here under that name by now must still be the one who was shown.
        conversation = me.conversation  # of another name, perhaps
        now_here = conversation.find(peer.name)
        is_same = now_here is not None and now_here.card.identity == identity
        if now_here is None or not is_same or answer != peer.name:
            me.narrator.notice(f"Nothing was changed: {peer.name} is not trusted.")
            return
        conversation.trust(now_here)
        me.narrator.notice(sentences.pinned(now_here, Grade.TOFU))

    me.ask(f"Type {peer.name} again to trust the new key: ", confirmed)


def invite(me: Person, what: str) -> None:
    """Print what friends start with, on a row of its own; "new": another; "qr": as a code too."""
    used = me.invitation.secret
    if what == "qr":
        qr.check()
    if what == "new" or (used is None and me.fresh_secret is None):
        me.fresh_secret = ticket.new_secret()
    secret = me.fresh_secret or used
    above, below = sentences.invitation(is_used=secret == used)
    me.narrator.rows([above])
    invitation = ticket.encode(replace(me.invitation, secret=secret))
    for row in [invitation, *(qr.rows(invitation) if what == "qr" else ())]:
        me.view.plain(row, me.at_ms())
    me.narrator.notice(below)


def forget(me: Person) -> None:
    """Remove what is kept of the relay, once that was typed again."""

    def confirmed(answer: str | None) -> None:
        said = me.forget() if answer == "forget" else "Nothing was changed."
        me.narrator.notice(said)

    me.ask("Type forget to remove the name, KEY and pins kept of this relay: ", confirmed)


# --- The relay.


def operate(me: Person, line: str) -> None:
    """Give an operator's order; the relay's answer is shown when it comes."""
    _order(me, line)


def tell_password(me: Person, password: str) -> None:
    """Change the relay's password, if we may, and tell it to all members."""
    contents.check(contents.Password(password))
    order = _order(me, f"{orders.PASSWORD} {password}")
    me.tell_password_after(order, password)


def _order(me: Person, line: str) -> int:
    me.policy.check_order()
    order = orders.parse(line)
    number = me.conversation.order(line)
    if order.word == orders.PASSWORD:
        # If it is refused, this is one wrong guess when we dial again.
        me.passwords.told(me.conversation.identity.public, order.text, Rank.OURS)
    return number


# --- The view.


def help_(me: Person, topic: str) -> None:
    """List commands, keys, or one command."""
    view = me.view
    me.narrator.rows(help_rows(topic, view.keys_help, has_history=view.has_history))


def help_rows(topic: str, keys: Sequence[str], *, has_history: bool) -> list[str]:
    """Return the list of commands, of keys, who can read what, or one command.

    Raises:
        UsageError: if there is no such command.
    """
    if topic == "keys":
        return list(keys)
    if topic == "security":
        return list(sentences.WHO_READS)
    if topic:
        name = topic if topic.startswith("/") else f"/{topic}"
        if name in orders.FORMS and name not in OURS:
            rows = [f"{orders.usage(name)}: {orders.FORMS[name].meaning}. For operators"]
            if name == orders.PASSWORD:
                rows.append(f"{name} --tell NEW: the same, and tells NEW to all trusted members")
            return rows
        command = find(name)
        return [f"{command.usage}: {command.meaning}"]
    listed = [command for command in COMMANDS if command.is_listed]
    shown = [command for command in listed if has_history or not command.needs_history]
    cells = max(len(command.usage) for command in shown)
    rows = [f"{command.usage:<{cells}}  {command.meaning}" for command in shown]
    words = list(orders.FORMS)
    rows.append(f"Operators (/help /kick): {' '.join(words[:7])}")
    rows.append(" ".join(words[7:]))
    return [*rows, "exit leaves, after a goodbye; //text says /text. Keys: /help keys"]


def look_for(me: Person, text: str) -> None:
    """Mark a text in the history and go to it; "" repeats."""
    if not me.view.find(text):
        what = f'"{text}" is' if text else "What you looked for is"
        raise UsageError(f"{what} not in this history.")


def to_unread(me: Person) -> None:
    """Go to the unread line."""
    if not me.view.to_unread():
        raise UsageError("There is no unread line.")


def more(me: Person) -> None:
    """Show the rest of a long message."""
    if not me.view.more():
        raise UsageError("No message on the screen is cut.")


def copy(me: Person, count: str, flag: str) -> None:
    """Print the last messages outside the screen; a flag: with names and times."""
    me.view.copy(int(count), with_names=bool(flag))


def copy_urls(me: Person) -> None:
    """Print the last URLs outside the screen."""
    me.view.copy_urls()


def edit(me: Person) -> None:
    """Edit the draft in an editor of the user's."""
    me.view.edit()


def clear(me: Person) -> None:
    """Forget the history."""
    me.view.clear()


def set_(me: Person, name: str, value: str) -> None:
    """Show the settings, or change one."""
    options = me.view.options

    def shown(name: str) -> str:
        return f"{name} = {getattr(options, name) or '(none)'}"

    if not name:
        me.narrator.rows([f"{shown(each)}: {meaning}" for each, meaning in MEANINGS.items()])
        return
    allowed = VALUES.get(name, ())
    if name not in MEANINGS:
        raise UsageError(f"No setting {name}. /set lists them.")
    if value and allowed and value not in allowed:
        raise UsageError(f"Usage: /set {name} {'|'.join(allowed)}")
    if value:
        setattr(options, name, value)
        me.view.apply_options()
    me.narrator.notice(shown(name))


# --- The end.


def quit_(me: Person, goodbye: str) -> None:
    """Leave the room, with a last text or none."""
    me.renaming.drop()
    me.leaving.quit(goodbye)


def ask_and_quit(me: Person) -> None:
    """Leave the room, once we were asked for a last text."""
    me.narrator.show_leaving(None)  # whoever leaves has no time to wait

    def answered(answer: str | None) -> None:
        if answer is not None:
            quit_(me, answer)

    me.ask("Enter goodbye text (optional): ", answered)


def _ignored_names(me: Person) -> Sequence[str]:
    return [found.name for found in me.narrator.ignored.values()]


def _topics(_me: Person) -> Sequence[str]:
    return ["keys", "security", *(command.name for command in COMMANDS)]


_NAME, _TEXT = Argument.NAME, Argument.TEXT

# A row is read as one.
# fmt: off
COMMANDS: Final = (
    Command("/help", "[topic]", "this list; /help keys, security, /who",
            help_, _maybe_text, (_topics,)),
    Command("/who", "", "who is here, and how far each is trusted",
            who, _nothing),
    Command("/names", "", "who is here, in one row",
            list_names, _nothing),
    Command("/msg", "NAME TEXT", "says TEXT to NAME alone",
            direct, _name_and_text, (_NAME, _TEXT)),
    Command("/r", "TEXT", "answers the last who wrote to you alone",
            reply, _whole_text, (_TEXT,)),
    Command("/me", "TEXT", "says what you do: * ace TEXT",
            say, _deed, (_TEXT,)),
    Command("/verify", "[NAME [yes|no]]", "the safety number of you and NAME; then yes",
            verify, _verifying, (_NAME, ("yes", "no"))),
    Command("/trust", "NAME", "accepts a changed key of NAME. See /forget",
            trust, _word, (_NAME,), is_whole=True),
    Command("/invite", "[new|qr]", "KEY.SECRET for friends: keeps all others out",
            invite, _new_or_qr, (("new", "qr"),)),
    Command("/nick", "NEW", "gives you another name",
            nick, _word, is_whole=True),
    Command("/away", "[TEXT]", "tells that you are away, until you type",
            away, _maybe_text, (_TEXT,), keeps_away=True),
    Command("/ignore", "[NAME]", "hides NAME; alone: lists. /unignore ends",
            ignore, _maybe_word, (_NAME,)),
    Command("/unignore", "[NAME]", "shows NAME again; alone: everybody",
            unignore, _maybe_word, (_ignored_names,), is_listed=False),
    Command("/find", "TEXT", "goes to TEXT; alone: again. /unread. /more",
            look_for, _maybe_text, (_TEXT,), needs_history=True),
    Command("/unread", "", "goes to the unread line",
            to_unread, _nothing, needs_history=True, is_listed=False),
    Command("/more", "", "shows the rest of a long message; Enter too",
            more, _nothing, needs_history=True, is_listed=False),
    Command("/copy", "[-t] [N]", "copies N messages (-t: names). /url: URLs",
            copy, _count, (("-t",),), needs_history=True),
    Command("/url", "", "prints the last 20 URLs",
            copy_urls, _nothing, needs_history=True, is_listed=False),
    Command("/edit", "", "opens what you typed in $VISUAL or $EDITOR",
            edit, _nothing, needs_history=True),
    Command("/clear", "", "forgets the history",
            clear, _nothing, needs_history=True),
    Command("/set", "[NAME [VALUE]]", "shows or changes a setting",
            set_, _setting, (tuple(MEANINGS), ("on", "off", "all", "default", "plain"))),
    Command("/forget", "", "removes what is kept of this relay: name, KEY, pins",
            forget, _nothing, is_whole=True, is_listed=False),
    Command("/resend", "", "says again what was not sent. /drop drops it",
            resend, _nothing),
    Command("/drop", "", "gives up what was not sent",
            drop, _nothing, is_listed=False),
    Command("/quit", "[TEXT]", "leaves, saying TEXT first",
            quit_, _maybe_text, (_TEXT,), is_whole=True, keeps_away=True),
)
# fmt: on
"""In the order of `/help`."""

# What is done without a name of its own being typed.
SAY: Final = Command("", "TEXT", "says TEXT", say, _maybe_text)
ORDER: Final = Command("", "ORDER", "gives an order to the relay", operate, _maybe_text)
TELL_PASSWORD: Final = Command(
    "/password", "--tell NEW", "changes the password and tells it", tell_password, _maybe_text
)
EXIT: Final = Command("exit", "", "leaves", ask_and_quit, _nothing, keeps_away=True)

OURS: Final = tuple(command.name for command in COMMANDS)

# What others call it: `/leave` has no row, since it is kept for a later meaning.
ALIASES: Final = {
    "/?": "/help",
    "/commands": "/help",
    "/users": "/names",
    "/members": "/names",
    "/query": "/msg",
    "/w": "/msg",
    "/whisper": "/msg",
    "/tell": "/msg",
    "/pm": "/msg",
    "/dm": "/msg",
    "/message": "/msg",
    "/reply": "/r",
    "/re": "/r",
    "/exit": "/quit",
    "/logout": "/quit",
    "/bye": "/quit",
    "/block": "/ignore",
    "/unblock": "/unignore",
    "/search": "/find",
}
_ONE_ROOM: Final = "A client is in one room. For another: /quit, then start with --room NAME."
_LEAVES: Final = "/quit leaves."
# What others do and we do not, or not so: which command is nearest to it.
_ELSEWHERE: Final = {
    "/join": _ONE_ROOM,
    "/j": _ONE_ROOM,
    "/room": _ONE_ROOM,
    "/channel": _ONE_ROOM,
    "/connect": _ONE_ROOM,
    "/server": _ONE_ROOM,
    "/list": "/names lists who is here; /rooms, an operator's, which rooms there are.",
    "/leave": _LEAVES,
    "/part": _LEAVES,
    "/disconnect": _LEAVES,
}
# What cannot be taken back is not put into the mouth of who mistyped something else.
_NEVER_NEAR: Final = ("/quit", "/resend", "/drop", "/forget")


def find(word: str) -> Command:
    """Return the command of that name, or the only one it begins.

    Raises:
        UsageError: if there is none, or more than one.
    """
    word = ALIASES.get(word, word)
    if word in _ELSEWHERE:
        raise UsageError(_ELSEWHERE[word])
    near = [command for command in COMMANDS if command.name.startswith(word)]
    for command in near:
        if command.name == word:
            return command
    if len(near) == 1 and word != "/":
        if near[0].is_whole:
            raise UsageError(f"{near[0].name} must be typed out. Nothing was sent.")
        return near[0]
    if near and word != "/":
        raise UsageError(f"{word} could be {' or '.join(c.name for c in near)}.")
    # What was typed behind the wrong word may be a password; the word itself may be its end.
    close = orders.near(word, (name for name in OURS if name not in _NEVER_NEAR))
    hint = f" Near: {', '.join(close)}." if close else ""
    raise UsageError(f"No command {word if not close else 'of that name'}.{hint} /help lists them.")
