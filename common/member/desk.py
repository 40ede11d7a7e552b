"""Between a view and a conversation: what is typed is done, what happens is shown.

Sans-I/O but for the socket it is handed; owned by the client's loop, which turns it. It is imported
after the first frame, because what it needs takes longer than a person waits for a screen.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, assert_never

from common import config, files, names
from common.crypto import ticket
from common.crypto.identity import Identity, load_identity, safety_number
from common.errors import (
    FileError,
    LocalProtocolError,
    Refused,
    RemoteProtocolError,
    Unauthentic,
    UsageError,
)
from common.member import commands, contents, sentences
from common.member.conversation import (
    AwayChanged,
    Back,
    Came,
    Conversation,
    Event,
    Gone,
    Joined,
    Left,
    Line,
    Noticed,
    PasswordTold,
    Peer,
    Phase,
    Said,
    Trouble,
    Undelivered,
    Untold,
    Warned,
)
from common.member.passwords import Passwords
from common.member.retry import Retry
from common.member.trust import Grade, Pins, Standing
from common.term import text
from common.term.complete import Argument, Sources
from common.term.editor import Action, Submit
from common.term.prompt import Answer, Prompt, Reply
from common.view.output import is_terminal
from common.view.view import (
    MEANINGS,
    VALUES,
    Message,
    Outcome,
    Post,
    Presence,
    Status,
    Unsent,
    View,
)
from common.wire import orders
from common.wire.link import ClientLink, Closed, Opened, State, parse_url
from common.wire.pipe import READ_BYTES, Pipe, Sock
from common.wire.records import RELAY, Delivered, Kind, Reason, Sent

log = logging.getLogger("termchat.client")

READ_EVERY_S: Final = 1 / 28
"""A little more than a frame: what comes meanwhile is read together, and drawn in that turn."""
LEAVE_S: Final = 2.0
RETURN_S: Final = 2.0
"""What comes so soon after a suspension came during it."""
UNSENT_BYTES: Final = 256 * 1024
"""Answers that the relay does not read, above which we do not read it either."""
UNREAD_BYTES: Final = 256 * 1024
"""Rows that standard output has not taken, above which we stop reading the relay."""
MANY_LINES: Final = 1_000
"""Lines on their way, above which a pipe on standard input is not read."""

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_REFUSED: Final = 3
EXIT_UNREACHABLE: Final = 4
EXIT_KEY_CHANGED: Final = 5

RENAME_S: Final = 5.0
"""How long the relay may take to admit a new name, while the room is not read."""
RENAMED_S: Final = 2.0
"""How long the row of one who left waits: who comes back under another name gets one for both."""

NAME_S: Final = 160.0
"""A dead connection is noticed after 40 s, and its name is held for GRACE, 120 s."""

QUIET: Final = frozenset((408, 410, 412))
"""Statuses that a resume mends; those who read need not be told."""
TRANSIENT: Final = frozenset((408, 410, 412, 429, 503))
"""Statuses after which a client that was welcomed comes back (PROTOCOL.md 3.3)."""

KEYS_HELP: Final = (
    "Enter sends. Alt-Enter: a new row. Up Down: what you sent.",
    "Ctrl-R searches what you sent. Tab completes names and commands.",
    "PgUp PgDn End: the history. Alt-M: unread. Alt-@: mention.",
    "Ctrl-W Ctrl-U Ctrl-K cut, Ctrl-Y pastes, Ctrl-_ undoes.",
    "Ctrl-L repaints. Ctrl-Z suspends. Ctrl-X Ctrl-E: your editor.",
    "Ctrl-C clears the input; on an empty input, it leaves.",
)

LINE_KEYS_HELP: Final = (
    "Enter sends. Backspace and Ctrl-U erase.",
    "Ctrl-C leaves at once; exit after a goodbye.",
)


@dataclass(slots=True, eq=False)
class _Renaming:
    """A session under another name, until it takes the place of ours.

    Its link is opened first, as far as the relay's answer to HELLO: a name that is refused costs
    nothing. Then the present session leaves, and this one joins.

    Attributes:
        handshake_hash: of its link, once the relay has admitted it.
    """

    conversation: Conversation
    by_s: float
    pipe: Pipe[ClientLink] | None = None
    handshake_hash: bytes = b""


@dataclass(slots=True)
class _Ignored:
    """Somebody whose messages are hidden, and how many were."""

    name: str
    count: int = 0


class Desk:
    """One member: its conversation, its link, and what its view is told."""

    def __init__(
        self,
        settings: config.ClientConfig,
        environ: Mapping[str, str],
        view: View,
        clock: Callable[[], float],
        at_ms: Callable[[], int],
        today: str,
        psk: Callable[[], bytes],
    ) -> None:
        """Load who we are and whom we know.

        Args:
            psk: of the password in the settings; waits until it is stretched.

        Raises:
            UsageError: if KEY or the address cannot be used.
            FileError: if a file cannot be.
        """
        self._settings = settings
        self._ticket = ticket.parse(settings.ticket)
        self._url = settings.url or _url(self._ticket)
        self.unix_path = self._url.removeprefix("unix:") if self._url.startswith("unix:") else ""
        # A unix socket has no host to name in the upgrade.
        self._link_url = "ws://localhost/" if self.unix_path else self._url
        uri = parse_url(self._link_url)
        self.is_secure, self.host, self.port = uri.secure, uri.host, uri.port
        self._identity, self._pins = _home(settings, environ)
        self._today = today
        self._conversation = self._converse(settings.username)
        self._view = view
        self._clock = clock
        self._at_ms = at_ms
        self._passwords = Passwords(settings.offered_password)
        self._was_asked = False
        self._offered_psk = self._stretched = psk
        self._psk: bytes | None = None
        self._renaming: _Renaming | None = None
        self._is_renamed = False
        self._leaving: dict[bytes, tuple[Presence, float]] = {}
        """By identity: rows that wait for a new name, and until when."""
        self._ignored: dict[bytes, _Ignored] = {}
        self._away = ""
        self._reply_to: tuple[bytes, str] | None = None
        self._fresh_secret: bytes | None = None
        self._to_tell = ""
        """A password, until the relay says whether it has taken it."""
        self._pipe: Pipe[ClientLink] | None = None
        self._inbox: deque[Delivered] = deque()
        self._unshown: deque[Event] = deque()
        self._read_at_s = 0.0
        self._has_input = True
        self._retry = Retry(random.random)
        self._retry_at_s: float | None = None
        self._lost_at_s: float | None = None
        self._return: tuple[float, float] | None = None
        """From a suspension: when, and how long it was."""
        self._was_welcomed = False
        self._ended = ""
        self._end_code = EXIT_REFUSED
        self._leave_by_s: float | None = None
        self._on_answer: Callable[[str | None], None] | None = None
        self._shown_numbers: set[str] = set()
        self._last_status: Status | None = None
        self._speakers: list[str] = []
        self._look_alikes: set[int] = set()
        self._hint = ""
        self._unsent: list[Line] = []
        """Reported as not sent, until `/resend` or `/drop`."""
        self._rows_lost = 0
        """The same of a program, which has neither."""
        self._name_by_s = 0.0
        """Until then the name may be held by a session of ours that was cut off."""
        self._is_anew = False
        self._told_status = 0
        self._echo_by_s: float | None = None
        """A pipe gives up on what waits then."""
        self._failures = 0
        self._has_changed_key = False
        self.wants_dial = True
        self.exit_code: int | None = None
        self.last_words = ""
        view.sources = self.sources

    def _converse(self, username: str) -> Conversation:
        return Conversation(
            key=self._ticket.key,
            room=self._settings.room,
            username=username,
            identity=self._identity,
            secret=self._ticket.secret,
            pins=self._pins,
            today=self._today,
        )

    # --- What the loop asks.

    @property
    def _watched(self) -> Pipe[ClientLink] | None:
        """The connection that the loop waits for: of a new name, until the relay has answered."""
        renaming = self._renaming
        return renaming.pipe if renaming and not renaming.handshake_hash else self._pipe

    @property
    def fd(self) -> int | None:
        """Of the connection, once there is one."""
        return self._watched.sock.fileno() if self._watched else None

    @property
    def is_full(self) -> bool:
        """Whether so much is on its way that no more should be typed."""
        if self._settings.sends:
            # What a pipe holds meanwhile will be one message; whom it is for, a member knows.
            return not self._was_welcomed or self._conversation.has_unsealed
        return self._conversation.waiting >= MANY_LINES

    @property
    def is_writing(self) -> bool:
        """Whether the socket has not taken all there is."""
        return self._watched is not None and self._watched.unsent_bytes > 0

    def is_reading(self, now: float) -> bool:
        """Whether to wait for the socket."""
        pipe = self._watched
        if pipe is not None and pipe.unsent_bytes >= UNSENT_BYTES:
            return False
        # The relay's answer to an upgrade is nothing to show, and does not wait for a reader.
        is_shown = pipe is None or pipe.link.state is State.CONNECTING or not self._is_stalled
        return is_shown and not self._inbox and now >= self._read_at_s

    @property
    def _is_stalled(self) -> bool:
        """Whether nobody takes what we write."""
        return self._view.unwritten_bytes >= UNREAD_BYTES

    def deadline(self, now: float) -> float | None:
        """Return when `tick` is next wanted."""
        if self._inbox or self._unshown:
            return now
        times = [self._retry_at_s, self._leave_by_s, self._echo_by_s]
        times += [until_s for _, until_s in self._leaving.values()]
        if self._renaming is not None:
            times.append(self._renaming.by_s)
        if self._pipe is not None:
            times += [self._pipe.link.deadline(), self._conversation.deadline()]
            if self._read_at_s > now:
                times.append(self._read_at_s)
        if self._retry_at_s is not None and self._lost_at_s is not None:
            times.append(now + 1.0)  # the countdown
        return min((at for at in times if at is not None), default=None)

    def tick(self, now: float) -> None:
        """Let time pass."""
        if self._pipe is not None:
            if self._is_stalled:
                self._pipe.link.rest(now)
            for closed in self._pipe.link.tick(now):
                self._on_closed(closed, now)
        if self._retry_at_s is not None and now >= self._retry_at_s:
            self.wants_dial = True
        self._show_leaving(now)
        self._rename_on(now)
        self._leave_when_done(now)
        if self._echo_by_s is not None and now >= self._echo_by_s:
            self._echo_by_s = None
            if self._conversation.waiting:
                self._leave_with(self._conversation.waiting)
                if self._has_input:
                    self.last_words += " What followed was not read."

    def stretch(self) -> bytes:
        """Return the psk of the password; for the thread that dials, since it takes long."""
        return self._psk or self._stretched()

    def dialled(self, psk: bytes) -> None:
        """Note that an attempt to connect begins with this psk."""
        self._psk = psk

    def dialling(self) -> None:
        """Note that the loop does what `wants_dial` says."""
        self.wants_dial = False
        self._retry_at_s = None
        before, password = self._passwords.trying, self._passwords.next()
        if password != before:
            self._psk = None
            self._stretched = lambda: ticket.derive_psk(password, self._ticket.key)
            if password == self._settings.offered_password:
                self._stretched = self._offered_psk  # of peers, it is of no password

    def unreachable(self, why: str, now: float) -> None:
        """Note that no address could be connected to."""
        reason = why[:1].lower() + why[1:]
        where = self._place
        self.failed(f"Cannot reach {where}: {reason}. Is the server running there?", now)

    @property
    def _place(self) -> str:
        return self.unix_path or f"{self.host}:{self.port}"

    def attach(self, sock: Sock, now: float) -> None:
        """Begin to join on a socket that is connected."""
        if self._psk is None:
            raise LocalProtocolError("a connection without a psk")
        renaming = self._renaming
        if self._pipe is not None and (renaming is None or renaming.pipe is not None):
            sock.close()  # it was dialled for a name that we gave up
            return
        hello = (renaming.conversation if renaming else self._conversation).hello()
        try:
            link = ClientLink(self._link_url, self._ticket.key, self._psk, hello, now)
        except Unauthentic:
            sock.close()
            self._end("KEY is no key that a relay can have.", EXIT_USAGE)
            return
        if renaming is not None:
            renaming.pipe = Pipe(sock, link)
        else:
            self._pipe = Pipe(sock, link)

    def woke(self, now: float) -> None:
        """See whether the connection has outlived a sleep."""
        if self._pipe is not None:
            self._pipe.link.ping(now)
        elif self._retry_at_s is not None:
            self._retry_at_s = now

    def read(self, now: float) -> None:
        """Take what the socket has."""
        pipe = self._watched
        data = pipe.read() if pipe is not None else None
        if pipe is not None and data is not None:
            is_drained = len(data) < READ_BYTES and (self._view.is_screen or self._only_reads)
            self._read_at_s = now + READ_EVERY_S if is_drained else now
            if pipe is self._pipe:
                self._on_bytes(pipe, data, now)
            else:
                self._on_answer_to_name(pipe, data, now)

    def close(self) -> None:
        """Let go of the socket; what the link still has to say is tried once."""
        self._inbox.clear()
        self._give_up_telling()
        self._show_leaving(None)
        self._drop_renaming()
        if self._pipe is not None:
            self._pipe.flush()
            self._pipe.sock.close()
            self._pipe = None

    def input_ended(self, now: float) -> None:
        """Nobody can type any more: what was typed still goes out, then we leave."""
        self._has_input = False
        if self._view.is_screen:
            self.quit("")
        elif self._leave_by_s is None and not self._settings.tail:  # who waits for N leaves then
            self._leave_by_s = now + self._settings.timeout_s
            self._leave_when_done(now)

    def hang_up(self, now: float) -> None:
        """The terminal is gone: what can be said without waiting is said."""
        if self._conversation.phase is Phase.LIVE and self._pipe is not None:
            self._conversation.leave()
            self.send(now)

    # --- What is typed.

    def act(self, outcome: Outcome, now: float) -> None:
        """Do what was asked at the terminal."""
        try:
            match outcome:
                case Submit():
                    self._enter(outcome)
                case Answer():
                    self._answered(outcome.text)
                case Reply.ESCAPED:
                    self._answered(None)
                case Reply.INTERRUPTED | Reply.ENDED:
                    self._answered(None)
                case Action():
                    self._act(outcome, now)
                case Post():
                    self._post(outcome, now)
                case Unsent():
                    self._fail(outcome.why)
                case _:
                    assert_never(outcome)
        except (UsageError, FileError) as problem:
            self._view.tell(str(problem), self._at_ms())

    def _act(self, action: Action, now: float) -> None:
        match action:
            case Action.QUIT:
                self.quit("")
            case Action.LEAVE_NOW:
                self.exit_code = 0
            case Action.ENTER if self._retry_at_s is not None:
                self._retry_at_s = now
            case Action.HELP:
                self._intend(commands.Help(""))
            case Action.EDIT:
                self._intend(commands.Edit())
            case Action.SUSPEND:
                left_s = self._clock()
                self._view.suspend()
                back_s = self._clock()
                self._return = (back_s, back_s - left_s)
                # The connection may have gone meanwhile.
                self.woke(back_s)
            case _:
                pass

    def _post(self, post: Post, now: float) -> None:
        """Say what came from a program, to the room or to one member."""
        try:
            peer = self._conversation.find(post.to) if post.to else None
            if post.to and peer is None:
                raise UsageError(f"Nobody here is called {post.to}. It was not sent.")
            if peer is not None and peer.standing is Standing.CHANGED:
                self._has_changed_key = True
            self._conversation.say(post.text, peer)
        except UsageError as problem:
            self._fail(f"{post.what}: {problem}")
        else:
            self._echo_by_s = self._echo_by_s or now + self._settings.timeout_s

    def _fail(self, why: str) -> None:
        self._failures += 1
        self._view.tell(why, self._at_ms())

    def _enter(self, submitted: Submit) -> None:
        typed, is_literal = submitted.text, submitted.is_literal
        if commands.is_secret(typed):
            self._view.forget_typed()
        try:
            intent = commands.parse(typed, is_literal=is_literal)
            self._intend(intent)
            if not isinstance(intent, commands.Away | commands.Leave):
                self._be_back(has_spoken=isinstance(intent, commands.Say))
        except UsageError:
            if commands.says(typed, is_literal=is_literal):
                self._view.refill(typed, is_literal=is_literal)
            raise

    def _intend(self, intent: commands.Intent) -> None:
        conversation = self._conversation
        match intent:
            case commands.Say():
                line = conversation.say(intent.text)
                self._view.typed(line, intent.text, "", self._at_ms())
            case commands.Direct():
                self._direct(intent.name, intent.text)
            case commands.Reply():
                self._direct(self._replied_to(), intent.text)
            case commands.Help():
                has_screen = self._view.is_screen
                keys = KEYS_HELP if has_screen else LINE_KEYS_HELP
                self._rows(sentences.help_rows(intent.topic, keys, has_screen=has_screen))
            case commands.Who():
                hidden = {identity: found.count for identity, found in self._ignored.items()}
                self._rows(sentences.who(conversation, self._away, hidden, self._clock()))
            case commands.Verify():
                self._verify(intent)
            case commands.Trust():
                self._trust(self._peer(intent.name))
            case commands.Operate():
                self._operate(intent.order)
            case commands.Invite():
                self._invite(is_fresh=intent.is_fresh)
            case commands.Ignore():
                self._ignore(intent.name)
            case commands.Unignore():
                self._unignore(intent.name)
            case commands.Away():
                reason = intent.reason or sentences.AWAY
                conversation.tell_away(reason)
                self._away = reason
                self._notice(sentences.own_away(reason))
            case commands.Nick():
                self._rename(intent.name)
            case commands.TellPassword():
                self._tell_password(intent.password)
            case commands.Find():
                if not self._view.find(intent.text):
                    what = f'"{intent.text}" is' if intent.text else "What you looked for is"
                    raise UsageError(f"{what} not in this history.")
            case commands.ToUnread():
                if not self._view.to_unread():
                    raise UsageError("There is no unread line.")
            case commands.Clear():
                self._view.clear()
            case commands.Copy():
                self._view.copy(intent.last, with_names=intent.with_names)
            case commands.Urls():
                self._view.copy_urls()
            case commands.Resend():
                self._resend()
            case commands.Drop():
                self._drop()
            case commands.Edit():
                self._view.edit()
            case commands.Set():
                self._set(intent)
            case commands.Leave(asks=True):
                self._ask("Enter goodbye text (optional): ", self._on_goodbye)
            case commands.Leave():
                self.quit(intent.text)
            case _:
                assert_never(intent)

    def _direct(self, name: str, content: str) -> None:
        """Say a text to one member, or nothing to anybody."""
        conversation = self._conversation
        if names.key(name) == names.key(conversation.username):
            raise UsageError(f"{name} is you. Nothing was sent.")
        peer = conversation.find(name)
        if peer is None:
            raise UsageError(f"Nobody here is called {name}. Nothing was sent. /who lists who is.")
        if not peer.is_trusted:
            raise UsageError(f"{peer.name} is not trusted. Nothing was sent. /who says why.")
        line = conversation.say(content, peer)
        self._view.typed(line, content, peer.name, self._at_ms())
        if peer.away:
            self._notice(sentences.away(peer, peer.away))

    def _replied_to(self) -> str:
        """Return the present name of whoever wrote to us alone.

        Raises:
            UsageError: if that is nobody, or whoever has the name is another by now.
        """
        if self._reply_to is None:
            raise UsageError("Nobody has written to you alone yet. Nothing was sent.")
        identity, name = self._reply_to
        peers = self._conversation.peers.values()
        found = [peer.name for peer in peers if peer.card.identity == identity]
        if name in found:
            return name
        if len(found) != 1:
            raise UsageError(f"{name} is not here any more. Nothing was sent.")
        return found[0]

    def _be_back(self, *, has_spoken: bool) -> None:
        """End an absence; who has spoken to the room has said so (PROTOCOL.md 5.3)."""
        if not self._away:
            return
        self._away = ""
        self._notice("You are back.")
        if not has_spoken:
            with contextlib.suppress(UsageError):
                self._conversation.tell_away("")

    def _ignore(self, name: str) -> None:
        if not name:
            counts = {found.name: found.count for found in self._ignored.values()}
            self._rows([sentences.ignored(counts)])
            return
        peer = self._peer(name)
        self._ignored.setdefault(peer.card.identity, _Ignored(peer.name))
        self._notice(f"{peer.name} is ignored, but for warnings. /unignore {peer.name} ends it.")

    def _unignore(self, name: str) -> None:
        key = names.key(name)
        ended = {
            identity: found
            for identity, found in self._ignored.items()
            if not name or names.key(found.name) == key
        }
        if not ended:
            raise UsageError(f"You do not ignore {name or 'anybody'}.")
        for identity in ended:
            del self._ignored[identity]
        counts = {found.name: found.count for found in ended.values()}
        self._notice(sentences.shown_again(counts))

    def _invite(self, *, is_fresh: bool) -> None:
        """Print what friends start with, on a row of its own."""
        used = self._ticket.secret
        if is_fresh or (used is None and self._fresh_secret is None):
            self._fresh_secret = ticket.new_secret()
        secret = self._fresh_secret or used
        above, below = sentences.invitation(is_used=secret == used)
        self._rows([above])
        self._view.plain(ticket.encode(replace(self._ticket, secret=secret)), self._at_ms())
        self._notice(below)

    # --- Another name.

    def _rename(self, name: str) -> None:
        """Begin to go on under another name; until the relay admits it, nothing changes."""
        conversation = self._conversation
        names.check_username(name)
        if names.key(name) == names.key(conversation.username):
            raise UsageError(f"You are {conversation.username} already.")
        if conversation.find(name) is not None:
            raise UsageError(f"The name {name} is in use. You stay {conversation.username}.")
        if self._renaming is not None or conversation.phase is not Phase.LIVE:
            raise UsageError("Not now: wait until you are connected, then /nick again.")
        if self._unsent:
            raise UsageError("Not now: /resend or /drop what was not sent, then /nick again.")
        self._renaming = _Renaming(self._converse(name), self._clock() + RENAME_S)
        self.wants_dial = True

    def _on_answer_to_name(self, pipe: Pipe[ClientLink], data: bytes, now: float) -> None:
        """Take the relay's answer to the HELLO of another name."""
        for event in pipe.link.receive(data, now):
            renaming = self._renaming
            if renaming is None:
                return
            match event:
                case Opened():
                    renaming.handshake_hash = event.handshake_hash
                    renaming.by_s = now + LEAVE_S
                case Closed() if event.refused is not None:
                    if event.refused.status == 401 and self._passwords.refused():
                        self._drop_renaming()
                        self._renaming = _Renaming(renaming.conversation, now + RENAME_S)
                        self.wants_dial = True
                        return
                    status = sentences.refused(event.refused, renaming.conversation.username)
                    self._not_renamed(status)
                case _:
                    self._not_renamed("The connection was lost.")

    def _rename_on(self, now: float) -> None:
        """Leave once all is said and the new name is admitted; then join under it."""
        renaming, conversation = self._renaming, self._conversation
        if renaming is None:
            return
        if conversation.phase is Phase.ENDED:
            if now >= renaming.by_s:
                self._change_over(renaming, now)
        elif renaming.handshake_hash and not conversation.waiting:
            conversation.leave()
            renaming.by_s = now + LEAVE_S
        elif now >= renaming.by_s:
            self._not_renamed("The relay took too long.")

    def _change_over(self, renaming: _Renaming, now: float) -> None:
        """We have left: join under the other name."""
        self._renaming = None
        if self._pipe is not None:
            self._pipe.link.close(now)
        self.close()
        self._conversation, self._pipe = renaming.conversation, renaming.pipe
        self._is_renamed = True
        self._conversation.opened(renaming.handshake_hash, now)

    def _not_renamed(self, why: str) -> None:
        self._drop_renaming()
        sentence = f"{why} You stay {self._conversation.username}."
        self._view.tell(sentence, self._at_ms())

    def _drop_renaming(self) -> None:
        renaming, self._renaming = self._renaming, None
        if renaming is not None:
            self.wants_dial = False
            if renaming.pipe is not None:
                renaming.pipe.sock.close()

    # --- Settings, and what was not sent.

    def _set(self, intent: commands.Set) -> None:
        options = self._view.options
        if not intent.name:
            self._rows(
                [
                    f"{name} = {getattr(options, name) or '(none)'}: {meaning}"
                    for name, meaning in MEANINGS.items()
                ]
            )
            return
        allowed = VALUES.get(intent.name, ())
        if intent.name not in MEANINGS:
            raise UsageError(f"No setting {intent.name}. /set lists them.")
        if intent.value and allowed and intent.value not in allowed:
            raise UsageError(f"Usage: /set {intent.name} {'|'.join(allowed)}")
        if intent.value:
            setattr(options, intent.name, intent.value)
            self._view.apply_options()
        self._notice(f"{intent.name} = {getattr(options, intent.name) or '(none)'}")

    def _resend(self) -> None:
        """Say again what was not sent: to those who are here now, and to whom it was meant for."""
        if not self._unsent:
            raise UsageError("There is nothing to resend.")
        conversation = self._conversation
        kept: list[Line] = []
        total = len(self._unsent)
        for line in list(self._unsent):
            peer = conversation.find(line.to.name) if line.to else None
            # Whoever has the name by now may be somebody else.
            is_same = peer and line.to and peer.card.identity == line.to.card.identity
            if line.to and not (is_same and peer and peer.is_trusted):
                kept.append(line)
                continue
            number = conversation.say(line.text, peer)
            # At once: `say` may refuse the next one, and this one would be said again.
            self._unsent.remove(line)
            self._view.untyped(line.number)
            to = line.to.name if line.to else ""
            self._view.typed(number, line.text, to, self._at_ms())
        count = total - len(kept)
        absent = {line.to.name: "" for line in kept if line.to}
        self._notice(sentences.resent(count, list(absent)))

    def _drop(self) -> None:
        if not self._unsent:
            raise UsageError("There is nothing to drop.")
        for line in self._unsent:
            self._view.untyped(line.number)
        self._notice(sentences.dropped(len(self._unsent)))
        self._unsent.clear()

    def _peer(self, name: str) -> Peer:
        peer = self._conversation.find(name)
        if peer is None:
            raise UsageError(f"Nobody here is called {name}. /who lists who is.")
        return peer

    def _verify(self, intent: commands.Verify) -> None:
        conversation = self._conversation
        if not intent.name or names.key(intent.name) == names.key(conversation.username):
            self._rows(sentences.own_fingerprint(conversation))
            return
        peer = self._peer(intent.name)
        number = safety_number(
            conversation.identity.public, conversation.username, peer.card.identity, peer.name
        )
        match intent.answer:
            case None:
                self._shown_numbers.add(number)
                self._rows(sentences.safety_number(conversation, peer, number))
            case False:
                self._notice(f"{peer.name} stays as it was. Do not tell {peer.name} any secret.")
            case True:
                if number not in self._shown_numbers:
                    raise UsageError(f"Compare the number first: /verify {peer.name}")
                conversation.verify(peer)
                self._notice(sentences.pinned(peer, Grade.VERIFIED))

    def _trust(self, peer: Peer) -> None:
        conversation = self._conversation
        if peer.standing is not Standing.CHANGED:
            raise UsageError(f"The key of {peer.name} has not changed. Nothing was done.")
        identity = peer.card.identity
        self._rows(sentences.changed_keys(conversation, peer))

        def confirmed(answer: str | None) -> None:
            # Whoever is here under that name by now must still be the one who was shown.
            now_here = conversation.find(peer.name)
            is_same = now_here is not None and now_here.card.identity == identity
            if now_here is None or not is_same or answer != peer.name:
                self._notice(f"Nothing was changed: {peer.name} is not trusted.")
                return
            conversation.trust(now_here)
            self._notice(sentences.pinned(now_here, Grade.TOFU))

        self._ask(f"Type {peer.name} again to trust the new key: ", confirmed)

    def _tell_password(self, password: str) -> None:
        """Change the relay's password, if we may, and tell it to all members."""
        contents.check(contents.Password(password))
        self._operate(f"/password {password}")
        self._to_tell = password

    def _on_answer_to_order(self, answer: str) -> None:
        """Tell the others of a new password once the relay has taken it, and not if it has not."""
        if answer == orders.LOCK_CHANGED and self._to_tell:
            password, self._to_tell = self._to_tell, ""
            self._conversation.tell_password(password)
        elif answer.endswith(orders.UNCHANGED):
            self._to_tell = ""

    def _give_up_telling(self) -> None:
        """Say so if the relay's answer, on which others would be told a password, cannot come."""
        if self._to_tell:
            self._to_tell = ""
            self._view.warn(sentences.UNTOLD, self._at_ms())

    def _operate(self, order: str) -> None:
        """Send an operator's order; the relay's answer is a notice."""
        pipe, read = self._pipe, orders.parse(order)
        if pipe is None or self._conversation.phase is not Phase.LIVE:
            raise UsageError("Not now: you are not connected. Nothing was changed.")
        if pipe.link.state is State.OPEN:
            pipe.link.send(Sent(Kind.COMMAND, RELAY, order.encode()))
            if read.word is orders.Word.PASSWORD:
                # If it is refused, this is one wrong guess when we dial again.
                self._passwords.told(self._identity.public, read.text)

    # --- Questions.

    def _ask(
        self, question: str, on_answer: Callable[[str | None], None], *, is_hidden: bool = False
    ) -> None:
        self._on_answer = on_answer
        shown = text.clean(question, multiline=False)
        self._view.ask(Prompt(shown, is_hidden=is_hidden))

    def _answered(self, answer: str | None) -> None:
        on_answer, self._on_answer = self._on_answer, None
        self._view.ask(None)
        if on_answer is not None:
            on_answer(answer)

    def _on_goodbye(self, answer: str | None) -> None:
        if answer is not None:
            self.quit(answer)

    # --- The relay.

    def _on_bytes(self, pipe: Pipe[ClientLink], data: bytes, now: float) -> None:
        for event in pipe.link.receive(data, now):
            match event:
                case Opened() if self._settings.check:
                    self._end(f"{self._place} is a termchat relay, and takes this KEY.", 0)
                    return
                case Opened():
                    self._conversation.opened(event.handshake_hash, now)
                case Closed():
                    self._inbox_done(now)
                    if pipe is self._pipe:
                        # Else it was the last of a session that has another name by now.
                        self._on_closed(event, now)
                case Delivered():
                    self._inbox.append(event)
                case _:
                    assert_never(event)

    def _inbox_done(self, now: float) -> None:
        """Process what came before the end of a connection."""
        while self._inbox and self._pipe is not None:
            self._open_record(self._inbox.popleft(), now)
        self._show_all(self._conversation.open_held())

    def open_records(self, now: float, stop_s: float, has_keys: Callable[[], bool]) -> None:
        """Open what was received, one record at least, until then or until a key is pressed."""
        while self._inbox:
            self._open_record(self._inbox.popleft(), now)
            if self._clock() > stop_s or has_keys():
                break
        self._show_all(self._conversation.open_held())

    def _open_record(self, record: Delivered, now: float) -> None:
        try:
            events = self._conversation.receive(record, now)
        except RemoteProtocolError as problem:
            self._inbox.clear()
            self._show_all(self._conversation.open_held())
            if self._pipe is not None:
                self._on_closed(self._pipe.link.blame(str(problem), now, authentic=True), now)
            return
        except FileError as problem:
            # A pin that cannot be kept is no pin: better no conversation than one with anybody.
            self._end(str(problem), EXIT_FAILED)
            return
        self._show_all(events)

    def send(self, now: float) -> None:
        """Hand the socket what must leave now."""
        renaming, pipe = self._renaming, self._pipe
        if renaming is not None and renaming.pipe is not None:
            renaming.pipe.flush()  # it cannot have more to say than a request
        if pipe is None:
            return
        if pipe.link.state is State.OPEN and not pipe.unsent_bytes:
            for record in self._conversation.outgoing(now):
                pipe.link.send(record)
        if not pipe.flush():
            self._on_closed(Closed(None, "connection lost"), now)
        elif pipe.is_closed:
            self.close()

    def _on_closed(self, closed: Closed, now: float) -> None:
        """Decide what the end of a connection means (PROTOCOL.md 3.3)."""
        log.info("closed: %s", closed.why)
        conversation = self._conversation
        if self.exit_code is not None or self._ended:
            return
        if self._renaming is not None and conversation.phase is Phase.ENDED:
            self._change_over(self._renaming, now)
            return
        if self._renaming is not None:
            self._not_renamed("The connection was lost.")
        if conversation.phase is Phase.ENDED:
            self._leave_with(0)
            return
        refused = closed.refused
        self._was_welcomed |= conversation.is_welcomed
        asks = (
            refused is not None
            and refused.status == 401
            and not refused.authentic
            # A member may be typing: what was meant for the room must not become a password.
            and not self._was_welcomed
            and self._can_ask()
        )
        if refused is not None and asks:
            self._ask_password()
        elif refused is not None and not self._may_retry(refused, now):
            self._refused(refused)
        elif not self._was_welcomed:
            self._end(self._no_welcome(refused), EXIT_REFUSED if refused else EXIT_UNREACHABLE)
        else:
            self._lost(refused, now)

    def _no_welcome(self, refused: Refused | None) -> str:
        if refused is not None:
            return sentences.refused(refused, self._conversation.username)
        where = self._place
        return f"The connection to {where} was lost before it was a termchat server's."

    def _may_retry(self, refused: Refused, now: float) -> bool:
        """Tell whether a client that was welcomed goes on after this."""
        if not self._was_welcomed:
            return False
        is_ours = refused.status == 409 and now < self._name_by_s
        return refused.status in TRANSIENT or not refused.authentic or is_ours

    def _refused(self, refused: Refused) -> None:
        sentence = sentences.refused(refused, self._conversation.username)
        self._end(sentence, EXIT_REFUSED)

    def _lost(self, refused: Refused | None, now: float) -> None:
        self.close()
        status = refused.status if refused is not None else 0
        if self._conversation.phase is not Phase.OFFLINE:
            # The relay may take this session for a member for so long.
            self._name_by_s = now + NAME_S
        conversation = self._conversation
        self._show_all(conversation.rejoin() if status == 410 else conversation.lost())
        if status == 410 and not self._is_anew:
            # Once; a relay that says so to a session it does not know must be waited for.
            self._is_anew = True
            self.wants_dial = True
            return
        if status == 401 and self._passwords.refused():
            self.wants_dial = True
            return
        self.failed("", now, at_least_s=refused.retry_after_s if refused else 0)
        is_said = refused is not None and refused.authentic and status == 503
        if refused is not None and not is_said and status not in (*QUIET, self._told_status):
            self._told_status = status
            self._notice(sentences.refused(refused, self._conversation.username))

    def failed(self, problem: str, now: float, *, at_least_s: float = 0.0) -> None:
        """Note that there is no connection: the end for a stranger, a pause for a member."""
        if self._renaming is not None and self._pipe is not None:
            self._not_renamed(problem)
            return
        if not self._was_welcomed:
            self._end(problem, EXIT_UNREACHABLE)
            return
        self._retry_at_s = self._retry.failed(now, at_least_s=at_least_s)
        if self._lost_at_s is None:
            self._lost_at_s = now
            wait = sentences.duration(self._retry_at_s - now + 0.5)
            self._notice(f"Connection lost. Retrying in {wait}.")

    def _can_ask(self) -> bool:
        return self._has_input and self._settings.password is None and is_terminal(0)

    def _ask_password(self) -> None:
        self.close()
        self._show_all(self._conversation.lost())
        if self._was_asked:
            self._notice("Wrong KEY or password.")

        def answered(answer: str | None) -> None:
            if answer is None:
                self._end("No password was given.", EXIT_REFUSED)
                return
            self._passwords.typed(answer)
            self._was_asked, self._psk = True, None
            self.wants_dial = True

        self._ask("Password: ", answered, is_hidden=True)

    def _leave_when_done(self, now: float) -> None:
        """Say LEAVE once everything before it is in the log, or time is up."""
        if self._leave_by_s is None:
            return
        conversation = self._conversation
        if conversation.phase is Phase.LIVE and not conversation.waiting:
            conversation.leave()
            self._leave_by_s = now + LEAVE_S
        elif self._was_welcomed and conversation.phase is Phase.OFFLINE and self._is_all_said:
            self._leave_with(0)
        elif now >= self._leave_by_s:
            waiting = conversation.waiting if conversation.phase is not Phase.ENDED else 0
            self._leave_with(waiting)

    # --- Leaving.

    def quit(self, goodbye: str) -> None:
        """Leave: the goodbye first if it can be said, then LEAVE, two seconds at most."""
        conversation = self._conversation
        self._drop_renaming()
        if self._leave_by_s is not None or conversation.phase in (Phase.OFFLINE, Phase.JOINING):
            is_unsaid = self._was_welcomed and bool(goodbye.strip())
            self._leave_with(conversation.waiting + is_unsaid)
        elif conversation.phase is Phase.ENDED:
            self.exit_code = self._end_code if self._ended else 0
        else:
            if goodbye.strip():
                conversation.say(goodbye)
            self._leave_by_s = self._clock() + LEAVE_S

    def _leave_with(self, waiting: int) -> None:
        """End; whoever still had something to say is told so."""
        count = waiting + len(self._unsent) + self._rows_lost
        if count:
            self.last_words = sentences.undelivered_at_end(self._lines_lost() or count)
        if self.exit_code is None:
            changed = EXIT_KEY_CHANGED if self._has_changed_key else 0
            self.exit_code = EXIT_FAILED if count or self._failures else changed

    @property
    def _only_reads(self) -> bool:
        """Whether a program listens: it waits for no echo, and reads together what comes."""
        return self._settings.tail is not None and not self._settings.sends

    @property
    def _is_all_said(self) -> bool:
        return not (self._conversation.waiting or self._unsent or self._has_input)

    def _lines_lost(self) -> int:
        """Return how many lines of a program were not delivered; a message may hold several."""
        if not self._settings.sends:
            return 0
        is_over = self._conversation.phase is Phase.ENDED
        waiting = [] if is_over else self._conversation.waiting_lines()
        return self._rows_lost + sentences.rows_of(waiting)

    def _end(self, sentence: str, exit_code: int) -> None:
        """Stop for good. Who was welcomed on a screen may go on reading; everybody else is done."""
        lost = self._lines_lost()
        self._conversation.end()
        self.close()
        self._ended, self._end_code = sentence, exit_code
        if lost:
            sentence = f"{sentence} {sentences.undelivered_at_end(lost)}"
        if self._was_welcomed and self._has_input and self._view.is_screen:
            self._notice(f"{sentence} /quit leaves.")
            return
        self.last_words = sentence
        self.exit_code = exit_code

    def interrupt(self) -> None:
        """Leave a line mode at once, with its words."""
        lost = self._lines_lost()
        if lost:
            self.last_words = sentences.undelivered_at_end(lost)
        self._part(is_heard=False)
        if self._conversation.phase is Phase.LIVE and self._pipe is not None:
            self._conversation.leave()
            self.send(self._clock())

    # --- Showing.

    def _show_all(self, events: Iterable[Event]) -> None:
        """Show events, after those at which the last call broke."""
        self._unshown.extend(events)
        while self._unshown:
            self._show(self._unshown.popleft())

    def _show(self, event: Event) -> None:
        view = self._view
        match event:
            case Joined():
                if self._was_welcomed and self._settings.is_pipe:
                    view.warn(sentences.ANEW, self._at_ms())
                self._was_welcomed = True
                self._settled()
                self._greet(event)
            case Back():
                self._settled()
                away_s = self._clock() - (self._lost_at_s or self._clock())
                self._lost_at_s = None
                self._notice(sentences.back(event, away_s))
            case Came():
                self._show_came(event)
            case Left():
                self._show_left(event)
            case Said() if event.peer and event.peer.card.identity in self._ignored:
                self._ignored[event.peer.card.identity].count += 1
                event.peer.heard_s = self._clock()
            case Said():
                self._said(event)
            case AwayChanged():
                event.peer.heard_s = self._clock()
                is_ignored = event.peer.card.identity in self._ignored
                if not is_ignored and self._view.options.joins == "on":
                    view.notice(sentences.away_changed(event), event.at_ms)
            case PasswordTold():
                self._password_told(event)
            case Warned() if event.trouble in sentences.LOUD:
                self._has_changed_key |= self._settings.sends and event.trouble is Trouble.CHANGED
                view.warn(sentences.warned(event), event.at_ms)
            case Warned():
                view.notice(sentences.warned(event), event.at_ms)
            case Noticed():
                self._notice(f"The relay says: {event.text}")
                self._on_answer_to_order(event.text)
            case Undelivered():
                of_program = self._settings.sends
                if of_program:  # nobody is there to send them again
                    self._rows_lost += sentences.rows_of(event.lines)
                else:
                    self._unsent += event.lines
                view.warn(sentences.undelivered(event, of_program=of_program), self._at_ms())
            case Untold():
                view.warn(sentences.UNTOLD, self._at_ms())
            case Gone():
                self._on_gone()
            case _:
                assert_never(event)

    def _settled(self) -> None:
        """Note that the relay has us again."""
        self._retry.succeeded()
        self._is_anew, self._told_status = False, 0
        self._passwords.accepted()

    def _compare_name(self, peer: Peer) -> None:
        """Tell a new name from one here that it looks like."""
        others = [other.name for other in self._conversation.peers.values() if other is not peer]
        row = text.look_alike(peer.name, [self._conversation.username, *others])
        if row is not None:
            self._look_alikes.add(peer.number)
            self._view.warn(row, self._at_ms())

    def _password_told(self, told: PasswordTold) -> None:
        peer = told.peer
        if peer is None:
            self._notice("The new password was told to all who are here and trusted.")
        else:
            self._passwords.told(peer.card.identity, told.password)
            self._notice(sentences.password_told(peer.name, told.password))

    def _show_came(self, event: Came) -> None:
        peer, here = event.peer, self._conversation.members
        identity = peer.card.identity
        peer.heard_s = self._clock()
        sentence = sentences.came(event, here)
        gone, _ = self._leaving.get(identity, (None, 0.0))
        if gone is not None and gone.name != peer.name:
            del self._leaving[identity]
            sentence = sentences.renamed(gone.name, peer.name, here)
        self._show_leaving(None)
        self._view.moved(self._presence(peer, sentence, event.at_ms, peer.came_seq))
        self._compare_name(peer)
        if self._away and peer.is_trusted:
            with contextlib.suppress(UsageError):
                self._conversation.tell_away(self._away, peer)

    def _show_left(self, event: Left) -> None:
        """Tell that somebody left: a moment later, if it may only have been for another name."""
        peer, identity = event.peer, event.peer.card.identity
        sentence = sentences.left(event, self._conversation.members)
        gone = self._presence(peer, sentence, event.at_ms, event.seq, is_coming=False)
        # A program keeps count by names, and one row for both would leave the former here for ever.
        may_return = event.reason is Reason.LEFT and not self._settings.is_pipe
        if may_return and identity not in self._leaving:
            self._leaving[identity] = (gone, self._clock() + RENAMED_S)
        else:
            self._show_leaving(None)
            self._view.moved(gone)

    def _show_leaving(self, now: float | None) -> None:
        """Show who left, in order, without waiting for another name; all of them without a time."""
        for identity, (gone, until_s) in list(self._leaving.items()):
            if now is None or now >= until_s:
                del self._leaving[identity]
                self._view.moved(gone)

    def _presence(
        self, peer: Peer, sentence: str, at_ms: int, seq: int, *, is_coming: bool = True
    ) -> Presence:
        here = self._conversation.members
        is_verified = peer.standing is Standing.VERIFIED
        identity = peer.card.identity
        return Presence(peer.name, identity, sentence, at_ms, is_coming, here, is_verified, seq)

    def _greet(self, joined: Joined) -> None:
        self._lost_at_s = None
        conversation = self._conversation
        for peer in joined.others:
            peer.heard_s = self._clock()
        if self._away:
            with contextlib.suppress(UsageError):
                conversation.tell_away(self._away)
        is_renamed, self._is_renamed = self._is_renamed, False
        if is_renamed:
            self._notice(f"You are now {conversation.username}. {conversation.members} here.")
        else:
            self._tell_joined(joined)
        self._hint = sentences.HINT
        self._look_alikes.clear()
        for peer in joined.others:
            self._compare_name(peer)

    def _tell_joined(self, joined: Joined) -> None:
        conversation = self._conversation
        rows = sentences.first_rows(joined, conversation)
        if not self._view.is_screen:
            self._view.plain(f"Connected to `{self._url}` server.", self._at_ms())
            self._view.plain(f"You are connected as `{conversation.username}`.", self._at_ms())
            self._view.plain(f"Users Connected: {conversation.members}", self._at_ms())
            rows = rows[1:-1]
        self._rows(rows)

    def _part(self, *, is_heard: bool) -> None:
        """Say in line mode that we are out; is_heard: the relay has our LEAVE."""
        self._view.plain(f"Disconnected to the `{self._url}` server.", self._at_ms())

    def _on_gone(self) -> None:
        if self._renaming is not None:
            self._change_over(self._renaming, self._clock())
            return
        if not self._view.is_screen:
            self._part(is_heard=True)
        if self._pipe is not None:
            self._pipe.link.close(self._clock())
        self._leave_with(0)

    def _said(self, said: Said) -> None:
        peer = said.peer
        self._hint = ""
        returned_s, away_s = self._return or (0.0, 0.0)
        if self._return and self._clock() - returned_s < RETURN_S:
            self._notice(f"Back after {sentences.duration(away_s)}.")
        self._return = None
        if peer is None:
            self._progressed()
            own = self._conversation.username
            message = Message(
                own,
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
            peer.heard_s = self._clock()
            if said.is_direct:
                self._reply_to = (peer.card.identity, peer.name)
            self._speakers = [peer.name, *(n for n in self._speakers if n != peer.name)][:256]
            message = Message(
                peer.name,
                peer.card.identity,
                said.text,
                said.at_ms,
                is_direct=said.is_direct,
                is_verified=peer.standing is Standing.VERIFIED,
                is_look_alike=peer.number in self._look_alikes,
                seq=said.seq,
            )
        self._show_message(message)

    def _show_message(self, message: Message) -> None:
        self._view.said(message)

    def _progressed(self) -> None:
        """Note that an echo came."""
        by_s = self._clock() + self._settings.timeout_s
        self._echo_by_s = by_s if self._echo_by_s and self._conversation.waiting else None
        if self._leave_by_s is not None and not self._has_input:
            self._leave_by_s = by_s

    def _notice(self, sentence: str) -> None:
        self._view.notice(sentence, self._at_ms())

    def _rows(self, rows: list[str]) -> None:
        self._view.answer(rows, self._at_ms())

    def show_status(self, now: float) -> None:
        """Tell the view where we stand, if that has changed."""
        conversation = self._conversation
        changed = tuple(
            peer.name for peer in conversation.peers.values() if peer.standing is Standing.CHANGED
        )
        status = Status(
            names.room_for_user(conversation.room),
            conversation.username,
            conversation.members,
            self._state(now),
            conversation.waiting if conversation.phase is not Phase.LIVE else 0,
            changed,
            self._hint,
            bool(self._away),
        )
        if status != self._last_status:
            self._last_status = status
            self._view.status(status)

    def _state(self, now: float) -> str:
        if self._ended:
            return f"ended: {self._ended}"
        match self._conversation.phase:
            case Phase.LIVE | Phase.ENDED:
                return ""
            case Phase.JOINING:
                return "joining"
            case Phase.CATCHING_UP:
                return "catching up"
            case Phase.OFFLINE if self._retry_at_s is not None:
                return f"offline, retry in {max(0, round(self._retry_at_s - now))} s"
            case Phase.OFFLINE:
                return "connecting"
            case _:
                assert_never(self._conversation.phase)

    def sources(self) -> Sources:
        """Return what Tab completes with."""
        here = sorted(peer.name for peer in self._conversation.peers.values())
        spoke = [name for name in self._speakers if name in here]
        return Sources(
            [*spoke, *(name for name in here if name not in spoke)],
            {
                "/msg": (Argument.NAME, Argument.TEXT),
                "/r": (Argument.TEXT,),
                "/invite": (("new",),),
                "/ignore": (Argument.NAME,),
                "/unignore": ([found.name for found in self._ignored.values()],),
                "/away": (Argument.TEXT,),
                "/nick": (),
                "/help": (("keys", *(c.name for c in commands.COMMANDS)),),
                "/who": (),
                "/me": (Argument.TEXT,),
                "/find": (Argument.TEXT,),
                "/unread": (),
                "/copy": (("-t",),),
                "/url": (),
                "/edit": (),
                "/clear": (),
                "/resend": (),
                "/drop": (),
                "/set": (tuple(MEANINGS), ("on", "off", "all")),
                "/verify": (Argument.NAME, ("yes", "no")),
                "/trust": (Argument.NAME,),
                "/quit": (Argument.TEXT,),
                **_ORDERS,
            },
            _paths,
            self._reply_to[1] if self._reply_to and self._reply_to[1] in here else "",
        )


_ORDERS: Final[dict[str, tuple[Argument | tuple[str, ...], ...]]] = {
    word.value: (Argument.NAME, ()) if form.arguments.startswith("NAME") else ()
    for word, form in orders.FORMS.items()
}


def _paths(prefix: str) -> list[str]:
    """Return the paths that begin so, directories with a slash."""
    directory, _, start = prefix.rpartition("/")
    shown = f"{directory}/" if "/" in prefix else ""
    try:
        entries = sorted(os.scandir(Path(shown or ".").expanduser()), key=lambda e: e.name)
    except OSError:
        return []
    return [
        f"{shown}{entry.name}{'/' if entry.is_dir() else ''}"
        for entry in entries[:10_000]
        if entry.name.startswith(start)
    ]


def _url(invitation: ticket.Ticket) -> str:
    host = invitation.host or "localhost"
    shown = f"[{host}]" if ":" in host else host
    return f"ws://{shown}:{invitation.port or config.DEFAULT_PORT}/"


def _home(settings: config.ClientConfig, environ: Mapping[str, str]) -> tuple[Identity, Pins]:
    """Load who we are and whom we know.

    Raises:
        FileError: if a file cannot be used.
    """
    if settings.ephemeral:
        return Identity.generate(), Pins(None)
    path = Path(config.identity_path(settings, environ))
    files.make_private_dir(path.parent)
    return load_identity(path, settings.passphrase), Pins(path.with_name("known_peers"))
