"""One member, as the client's loop turns it: a person at a view, and a way to the relay.

Sans-I/O but for the socket it is handed. It is imported after the first frame, because what it
needs takes longer than a person waits for a screen. What happens is dispatched here alone: to the
uplink, renaming or leaving, and then to the narrator.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, assert_never

from common import config, files
from common.crypto import ticket
from common.crypto.identity import Identity, load_identity
from common.errors import EXIT_FAILED, EXIT_REFUSED, FileError, UsageError
from common.member import commands, parsing, sentences
from common.member.conversation import Conversation, Phase
from common.member.events import (
    Answered,
    AwayChanged,
    Back,
    Came,
    Failed,
    Gone,
    Joined,
    Left,
    Noticed,
    PasswordTold,
    Said,
    Trouble,
    Undelivered,
    Unpinned,
    Untold,
    Warned,
)
from common.member.leaving import Leaving
from common.member.narrator import Narrator
from common.member.passwords import Passwords
from common.member.peering import CLOSED
from common.member.person import Person
from common.member.policy import Policy
from common.member.relays import Keeper, Relays
from common.member.renaming import Renaming
from common.member.trust import Pins, Standing
from common.member.uplink import (
    Address,
    Again,
    Ask,
    Disconnected,
    Happened,
    Over,
    Parted,
    Uplink,
    Verdict,
    Wait,
    address_of,
)
from common.term.editor import Action, Submit
from common.term.prompt import Entered, Reply
from common.view.view import Outcome, Post, Unsent, View
from common.wire.link import Opened
from common.wire.pipe import Sock
from common.wire.records import Reason

UNREAD_BYTES: Final = 256 * 1024
"""Rows that standard output has not taken, above which we stop reading the relay."""
MANY_LINES: Final = 1_000
"""Lines on their way, above which a pipe on standard input is not read."""
COUNTDOWN_S: Final = 1.0


class Member:
    """One member: what the loop asks of it, and what it does about what happens.

    Attributes:
        uplink: its way to the relay.
        person: what commands reach.
        passwords: what the relay is shown.
    """

    def __init__(
        self,
        settings: config.ClientConfig,
        environ: Mapping[str, str],
        view: View,
        clock: Callable[[], float],
        at_ms: Callable[[], int],
        today: str,
        psk: Callable[[], bytes],
        policy: Policy | None = None,
    ) -> None:
        """Load who we are and whom we know.

        Args:
            psk: of the password in the settings; waits until it is stretched.
            policy: another one than with a server.

        Raises:
            UsageError: if KEY or the address cannot be used.
            FileError: if a file cannot be.
        """
        self._settings = settings
        self._invitation = ticket.parse(settings.ticket)
        self._view = view
        self._clock = clock
        address = address_of(settings.url, self._invitation)
        self._identity, self._pins = _home(settings, environ)
        self._today = today
        self._at_ms = at_ms
        self._policy = policy or Policy(view, at_ms)
        self._is_renamed = False

        def derive_psk(password: str) -> bytes:
            if password == settings.offered_password:
                return psk()  # of peers, it is of no password
            return ticket.derive_psk(password, self._invitation.key)

        self.passwords = Passwords(settings.offered_password, derive_psk)
        self.uplink = self._make_uplink(settings.username, address, joins=not settings.check)
        self._narrator = Narrator(settings, view, self.uplink, self._policy, clock, at_ms)
        self._renaming = Renaming(
            self.uplink,
            self.passwords,
            lambda name: self._make_uplink(name, address, joins=False),
        )
        self._leaving = Leaving(settings, view, self.uplink, self._narrator, clock)
        self.person = Person(
            settings,
            self._invitation,
            view,
            self._policy,
            self.uplink,
            self.passwords,
            self._narrator,
            self._renaming,
            self._leaving,
            clock,
            at_ms,
        )
        self.person.keeper, self.person.pins = self._keeper(environ), self._pins
        view.sources = lambda: parsing.sources(self.person)

    def _keeper(self, environ: Mapping[str, str]) -> Keeper:
        settings = self._settings
        is_kept = not (settings.ephemeral or settings.is_pipe or settings.peer is not None)
        relays = Relays(config.relays_path(settings, environ)) if is_kept else None
        return Keeper(relays, ticket.server_id(self._invitation.key))

    def _make_uplink(self, username: str, address: Address, *, joins: bool) -> Uplink:
        conversation = Conversation(
            key=self._invitation.key,
            room=self._settings.room,
            username=username,
            identity=self._identity,
            secret=self._invitation.secret,
            pins=self._pins,
            today=self._today,
            at_ms=self._at_ms,
        )
        conversation.messages_s = self._policy.messages_s
        refused = self._policy.refused
        return Uplink(conversation, address, self.passwords, random.random, refused, joins=joins)

    # --- What the loop asks.

    @property
    def conversation(self) -> Conversation:
        """The present one."""
        return self.uplink.conversation

    @property
    def address(self) -> Address:
        """Where to connect to."""
        return self.uplink.address

    @property
    def exit_code(self) -> int | None:
        """Set once the end has come."""
        return self._leaving.exit_code

    @property
    def last_words(self) -> str:
        """What remains to be said on standard error."""
        return self._leaving.last_words

    @property
    def _watched(self) -> Uplink:
        """What the loop waits for: the connection of a new name, until the relay has answered."""
        return self._renaming.unanswered or self.uplink

    @property
    def fd(self) -> int | None:
        """Of the connection, once there is one."""
        return self._watched.fd

    @property
    def is_full(self) -> bool:
        """Whether so much is on its way that no more should be typed."""
        if self._settings.sends:
            # What a pipe holds meanwhile will be one message; whom it is for, a member knows.
            return not self.uplink.was_welcomed or self.conversation.has_unsealed
        return self.conversation.waiting >= MANY_LINES

    @property
    def is_writing(self) -> bool:
        """Whether the socket has not taken all there is."""
        return self._watched.is_writing

    def is_reading(self, now: float) -> bool:
        """Whether to wait for the socket."""
        return self._watched.is_reading(now, is_stalled=self._is_stalled)

    @property
    def _is_stalled(self) -> bool:
        """Whether nobody takes what we write."""
        return self._view.unwritten_bytes >= UNREAD_BYTES

    def deadline(self, now: float) -> float | None:
        """Return when `tick` is next wanted."""
        parts = (self._narrator, self._renaming, self._leaving)
        times = [uplink.deadline(now) for uplink in {self.uplink, self._watched}]
        times += [part.deadline() for part in parts]
        if self.uplink.retry_at_s is not None and self.uplink.lost_at_s is not None:
            times.append(now + COUNTDOWN_S)
        return min((at for at in times if at is not None), default=None)

    # --- Dialling.

    @property
    def wants_dial(self) -> bool:
        """Whether the loop should connect, and hand in the socket."""
        return self._watched.wants_dial

    def dialling(self) -> None:
        """Note that the loop does what `wants_dial` says."""
        self._watched.dialling()

    def unreachable(self, why: str, now: float) -> None:
        """Note that no address could be connected to."""
        reason = why[:1].lower() + why[1:]
        self.failed(self._policy.unreachable(self.address, reason), now)

    def failed(self, problem: str, now: float) -> None:
        """Note that there is no connection, and why."""
        if self._renaming.is_on and self.uplink.is_connected:
            self._not_renamed(problem)
        else:
            self.uplink.failed(problem, now)
            self._dispatch_all(now)

    def attach(self, sock: Sock, now: float) -> None:
        """Begin to join on a socket that is connected."""
        self._watched.attach(sock, now)
        self._dispatch_all(now)

    def woke(self, now: float) -> None:
        """See whether the connection has outlived a sleep."""
        self.uplink.woke(now)

    # --- The relay.

    def read(self, now: float) -> None:
        """Take what the socket has."""
        only_reads = self._settings.tail is not None and not self._settings.sends
        self._watched.read(now, reads_together=self._view.is_screen or only_reads)

    def open_records(self, now: float, stop_s: float, has_keys: Callable[[], bool]) -> None:
        """Open what was received, one record at least, until then or until a key is pressed."""
        self._dispatch_all(now)
        while self.uplink.open_record(now) is not None:
            self._dispatch_all(now)
            if self._clock() > stop_s or has_keys():
                break
        self.uplink.open_held()
        self._dispatch_all(now)

    def send(self, now: float) -> None:
        """Hand the socket what must leave now."""
        if self._renaming.unanswered is not None:
            self._renaming.unanswered.send(now)
        self.uplink.send(now)
        self._dispatch_all(now)

    def tick(self, now: float) -> None:
        """Let time pass."""
        self.uplink.tick(now, is_stalled=self._is_stalled)
        self._dispatch_all(now)
        self._narrator.tick(now)
        why = self._renaming.tick(now)
        if why is not None:
            self._not_renamed(why)
        elif self._renaming.is_late(now):
            self._change_over(now)
        self._leaving.tick(now)

    def show_status(self, now: float) -> None:
        """Tell the view where we stand, if that has changed."""
        self._narrator.status(now, ended=self._leaving.ended, is_away=bool(self.person.away))

    # --- What is typed.

    def act(self, outcome: Outcome, now: float) -> None:
        """Do what was asked at the terminal."""
        try:
            match outcome:
                case Submit():
                    parsing.enter(self.person, outcome.text, is_pasted=outcome.is_pasted)
                case Entered():
                    self.person.answered(outcome.text)
                case Reply():
                    self.person.answered(None)
                case Action():
                    self._act(outcome, now)
                case Post():
                    self._post(outcome, now)
                case Unsent():
                    self._leaving.failed()
                    self._narrator.tell(outcome.why)
                case _:
                    assert_never(outcome)
        except (UsageError, FileError) as problem:
            self._narrator.tell(str(problem))

    def _act(self, action: Action, now: float) -> None:
        match action:
            case Action.QUIT:
                self.quit("")
            case Action.LEAVE_NOW:
                self._leaving.exit_code = 0
            case Action.ENTER if self.person.can_retype:
                self.person.ask_password(lambda: None)
            case Action.ENTER:
                self.uplink.retry(now)
            case Action.HELP:
                commands.help_(self.person, "")
            case Action.EDIT:
                commands.edit(self.person)
            case Action.SUSPEND:
                left_s = self._clock()
                self._view.suspend()
                back_s = self._clock()
                self._narrator.suspended(back_s, back_s - left_s)
                # The connection may have gone meanwhile.
                self.woke(back_s)
            case _:
                pass

    def _post(self, post: Post, now: float) -> None:
        """Say what came from a program, to the room or to one member."""
        try:
            peer = self.conversation.find(post.to) if post.to else None
            if post.to and peer is None:
                raise UsageError(f"Nobody here is called {post.to}. It was not sent.")
            if peer is not None and peer.standing is Standing.CHANGED:
                self._leaving.has_changed_key = True
            self.conversation.say(post.text, peer)
        except UsageError as problem:
            self._leaving.failed()
            self._narrator.tell(f"{post.what}: {problem}")
        else:
            self._leaving.posted(now)

    # --- What happens.

    def _dispatch_all(self, now: float) -> None:
        while (happened := self.uplink.next_event()) is not None:
            self._dispatch(happened, now)

    def _dispatch(self, happened: Happened, now: float) -> None:
        narrator, person, uplink = self._narrator, self.person, self.uplink
        match happened:
            case Joined():
                # A view that breaks must not leave us unsettled.
                is_anew, is_renamed, self._is_renamed = uplink.was_welcomed, self._is_renamed, False
                uplink.settled()
                person.welcomed()
                if person.away:
                    person.tell_away(person.away)
                narrator.joined(happened, is_anew=is_anew, is_renamed=is_renamed)
                person.keep()
            case Back():
                lost_at_s = uplink.lost_at_s
                uplink.settled()
                person.welcomed()
                narrator.back(happened, lost_at_s)
            case Came():
                self._came(happened)
            case Left():
                narrator.left(happened)
                if happened.reason is Reason.LEFT and self._policy.ends_us(happened.peer):
                    self._closed_by_peer()
            case Said():
                if happened.peer is None:
                    self._leaving.progressed()
                is_goodbye = happened.line == self._leaving.goodbye != 0
                narrator.said(happened, is_goodbye=is_goodbye)
            case AwayChanged():
                narrator.away_changed(happened)
            case PasswordTold():
                person.password_told(happened)
            case Warned():
                if self._settings.sends and happened.trouble is Trouble.CHANGED:
                    self._leaving.has_changed_key = True
                narrator.warned(happened)
            case Noticed():
                narrator.noticed(happened)
            case Answered():
                person.answered_order(happened)
            case Undelivered():
                self._leaving.undelivered(happened)
                narrator.undelivered(happened)
            case Unpinned():
                narrator.unpinned()
            case Untold():
                narrator.warn(sentences.UNTOLD)
            case Gone():
                self._gone(now)
            case Opened():  # without joining: a relay that admits us is all that we wanted to see
                self._end(f"{self.address.place} is a termchat relay, and takes this KEY.", 0)
            case Disconnected():
                self._disconnected()
            case Again() | Wait() | Ask() | Over() | Parted():
                self._judge(happened, now)
            case Failed():
                pass  # the uplink makes a verdict of it
            case _:
                assert_never(happened)

    def _came(self, came: Came) -> None:
        """Tell of a newcomer, and tell it what it should know."""
        peer, person = came.peer, self.person
        is_new = self._narrator.came(came)
        if person.away and peer.is_trusted:
            person.tell_away(person.away, peer)
        greeting = self._policy.greeting(peer, self.conversation.username)
        if greeting and is_new:
            with contextlib.suppress(UsageError):  # we are leaving, or thousands of lines wait
                line = self.conversation.say(greeting, peer)
                self._view.typed(line, greeting, peer.name, person.at_ms())

    def _judge(self, verdict: Verdict, now: float) -> None:
        """Do what the end of a connection means (PROTOCOL.md 3.3)."""
        if self._leaving.is_over:
            return
        if isinstance(verdict, Over):  # under any name
            self._end(verdict.sentence, verdict.exit_code)
            return
        if self._renaming.has_left:
            self._change_over(now)
            return
        if self._renaming.is_on:
            self._not_renamed("The connection was lost.")
        match verdict:
            case Again():
                pass  # the uplink wants to be dialled
            case Wait():
                for row in verdict.rows:
                    self._narrator.notice(row)
                if verdict.rows and self.person.can_retype:
                    self._narrator.notice(sentences.SHUT_OUT)
            case Ask() if self._settings.check and self._settings.password is None:
                place = self.address.place
                self._end(
                    f"{place} is reached; a password is needed, or KEY is wrong.", EXIT_REFUSED
                )
            case Ask() if self.person.can_answer and self._settings.password is None:
                unknown = "No password was given."
                self.person.ask_password(lambda: self._end(unknown, EXIT_REFUSED))
            case Ask():
                self._end(verdict.sentence, EXIT_REFUSED)
            case Parted():
                self._leaving.leave_with(0)
            case _:
                assert_never(verdict)

    def _disconnected(self) -> None:
        """Tell what waited for a connection that is gone."""
        self.person.give_up_telling(sentences.UNTOLD)
        self._narrator.show_leaving(None)

    # --- Another name.

    def _change_over(self, now: float) -> None:
        """We have left: join under the other name."""
        self._disconnected()
        self._is_renamed = True
        self._renaming.change_over(now)

    def _not_renamed(self, why: str) -> None:
        self._renaming.drop()
        self._narrator.tell(f"{why} You stay {self.conversation.username}.")

    # --- The end.

    def quit(self, goodbye: str) -> None:
        """Leave: the goodbye first if it can be said."""
        commands.quit_(self.person, goodbye)

    def input_ended(self, now: float) -> None:
        """Nobody can type any more: what was typed still goes out, then we leave."""
        self._leaving.has_input = False
        if self._view.is_screen:
            self.quit("")
        else:
            self._leaving.input_ended(now)

    def hang_up(self, now: float) -> None:
        """The terminal is gone: what can be said without waiting is said."""
        if self.conversation.phase is Phase.LIVE and self.uplink.is_connected:
            self.conversation.leave()
            self.uplink.send(now)

    def interrupt(self) -> None:
        """Leave a line mode at once, with its words."""
        self._leaving.interrupt()
        self._part(is_heard=False)
        self.hang_up(self._clock())

    def close(self) -> None:
        """Let go of the socket; what the link still has to say is tried once."""
        self._disconnected()
        for event in self.conversation.close():
            if isinstance(event, Failed):
                self._narrator.warn(str(event.problem))
            elif isinstance(event, Unpinned):
                self._narrator.unpinned()
        self._narrator.close()
        self._renaming.drop()
        self.uplink.close()

    def _gone(self, now: float) -> None:
        """The relay has our LEAVE."""
        if self._renaming.is_on:
            self._change_over(now)
            return
        self._part(is_heard=True)
        self.uplink.say_goodbye(now)
        self._leaving.leave_with(0)

    def _part(self, *, is_heard: bool) -> None:
        """Tell that we are out, after whoever was out before us."""
        self._narrator.show_leaving(None)
        self._policy.parted(self.address, is_heard=is_heard)

    def _end(self, sentence: str, exit_code: int) -> None:
        self.close()
        self._leaving.end(sentence, exit_code)

    def _closed_by_peer(self) -> None:
        waiting = self.conversation.waiting
        self.close()
        if self._view.greets:  # and has said so in a row
            self.conversation.end()
            self._leaving.leave_with(waiting)
        else:
            self._leaving.end(CLOSED, EXIT_FAILED if waiting else 0)


def _home(settings: config.ClientConfig, environ: Mapping[str, str]) -> tuple[Identity, Pins]:
    """Load who we are and whom we know.

    Raises:
        FileError: if a file cannot be used.
    """
    if settings.ephemeral:
        return Identity.generate(), Pins(None)
    path = Path(config.identity_path(settings, environ))
    try:
        files.make_private_dir(path.parent)
        return load_identity(path, settings.passphrase), Pins(path.with_name("known_peers"))
    except FileError as problem:
        raise FileError(config.elsewhere(problem)) from None
