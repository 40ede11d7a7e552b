"""The command line of a client: settings, the view, the terminal taken, the run, the end."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Final

from common import config, files, names, proctitle, streams
from common.client import start
from common.errors import EXIT_INTERRUPTED, FileError, TermchatError, UsageError
from common.view.output import is_terminal, print_row, say
from common.view.view import VALUES, Summary, View

if TYPE_CHECKING:  # the thread that dials imports it, once the first frame is drawn
    from common.member.member import Member

YOUNG_OBJECTS: Final = 20_000
"""How many new objects are looked through for garbage: imports make these, and no garbage."""


def main(argv: list[str]) -> int:
    """Join a room; return the exit code (UX.md 8)."""
    proctitle.leave_no_core()
    streams.open_streams()
    gc.set_threshold(YOUNG_OBJECTS)
    try:
        settings = config.load_client(argv, os.environ)
        proctitle.hide((settings.ticket, settings.password), os.environ, config.SECRET_VARIABLES)
        for warning in settings.warnings:
            say(warning)
        if settings.task:
            _do_task(settings)
            return 0
        if settings.peer is not None:
            return _run_peer(_with_passphrase(settings), settings.peer)
        settings = _with_passphrase(start.introduce(settings))
        view = choose_view(settings)
        # Who has no screen sees nothing early, and should hear first what is wrong.
        member = None
        if not view.is_screen:
            from common.client.dial import make_member

            member = make_member(settings, view)
    except TermchatError as problem:
        say(str(problem))
        return problem.exit_code
    except KeyboardInterrupt:  # at a question, or before the loop takes signals
        print_row("")
        return EXIT_INTERRUPTED
    return _run(settings, view, member)


def _do_task(settings: config.ClientConfig) -> None:
    """Do what is asked for instead of joining.

    Raises:
        UsageError: if it cannot be done so.
        FileError: if it cannot be written.
    """
    # Here, because each is asked for once in a long time.
    if settings.task == "completion":
        from common import completion

        streams.put_out(completion.script(settings.completion))
        return
    if settings.task == "forget":
        print_row(start.forget(settings))
        return
    from common.client import peer

    if settings.task == "genkey":
        streams.put_out(f"{peer.genkey()}\n")
    else:
        peer.init(settings)


def _run(settings: config.ClientConfig, view: View, member: Member | None) -> int:
    """Run to the end, and say what remains to be said."""
    with taken(settings, view) as caught:
        # Here, since the first frame waits for no socket.
        from common.client.loop import Client

        client = Client(settings, view, caught, member)
        code = client.run()
    for details in client.details:
        for row in details.splitlines():
            say(row)
    if client.last_words:
        (print_row if settings.check else say)(client.last_words)
    return code


def _run_peer(settings: config.ClientConfig, peer: config.PeerConfig) -> int:
    """Talk without a server.

    Raises:
        UsageError: if a setting is wrong, or a package is missing.
        FileError: if a file cannot be used, or nobody can listen there.
    """
    from common.client.peer import peering

    with peering(settings, peer) as chat:
        view = choose_view(chat.settings)
        code = _run(chat.settings, view, chat.make_member(view))
    return chat.exit_code(code)


# --- The view.


def choose_view(settings: config.ClientConfig) -> View:
    """Choose the view, and set what the file says.

    Raises:
        UsageError: if it says what cannot be.
    """
    view = _pick(settings)
    for name, value, where in settings.options:
        allowed = VALUES.get(name, ())
        if allowed and value not in allowed:
            raise UsageError(f"{where} is {value!r}, not {' or '.join(allowed)}.")
        setattr(view.options, name, value)
    if settings.notify_command:
        from common.view.notify import Notifier

        room = names.room_for_user(settings.room)
        view.on_call = Notifier(settings.notify_command, room).call
    return view


def _pick(settings: config.ClientConfig) -> View:
    """Choose the view; why a screen cannot be had is told in one sentence."""
    if settings.is_pipe:
        return _programs(settings)
    if settings.plain:
        return _lines()
    why = ""
    if not (is_terminal(0) and is_terminal(1)):
        why = "Input or output is no terminal"
    elif os.environ.get("TERM", "") in ("", "dumb", "unknown"):
        why = "The terminal type is dumb or not set"
    else:
        try:
            # Here, because Windows has none of it, and line mode needs none of it.
            from common.view.screen import Screen

            return Screen(has_colour=settings.colour)
        except ImportError:
            why = "This Python has no curses"
        except FileError as problem:
            why = str(problem).rstrip(".")
    say(f"{why}: line mode.")
    return _lines()


def _lines() -> View:
    # Here, because a screen needs none of it.
    from common.view.lines import Lines

    return Lines()


def _programs(settings: config.ClientConfig) -> View:
    # Here, because people need none of it.
    from common.view.programs import Programs
    from common.view.stdin import Feed, LineFeed, RowFeed

    feed: Feed | None = None
    if settings.sends and settings.json:
        feed = RowFeed()
    elif settings.sends:
        feed = LineFeed(is_block=settings.is_block, is_strict=settings.is_strict)
    room = names.room_for_user(settings.room)
    is_tail = settings.tail is not None
    return Programs(room, feed, is_tail=is_tail, is_json=settings.json, most=settings.tail or 0)


# --- The terminal.


@contextlib.contextmanager
def taken(settings: config.ClientConfig, view: View) -> Iterator[deque[int]]:
    """Give a view the terminal, and show that we connect; yields the signals that come.

    This is the first frame, before what the loop needs is imported.
    """
    with _caught_signals(has_keys=view.has_keys) as caught:
        view.start()
        try:
            view.apply_options()
            # Whatever breaks here breaks in the loop again, which tells of it.
            with contextlib.suppress(Exception):
                room = names.room_for_user(settings.room)
                view.status(Summary(room, settings.username, 0, "connecting", 0, ()))
                view.draw(time.monotonic())
                view.flush()
            yield caught
        finally:
            view.stop()


@contextlib.contextmanager
def _caught_signals(*, has_keys: bool) -> Iterator[deque[int]]:
    """Put signals into a queue that the loop empties."""
    caught: deque[int] = deque()

    def handle(signum: int, _frame: FrameType | None) -> None:
        caught.append(signum)

    wanted = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGCONT", "SIGWINCH", "SIGCHLD"]
    if has_keys:
        wanted.append("SIGTSTP")
    numbers = [getattr(signal, name) for name in wanted if hasattr(signal, name)]
    # What nohup, or a shell without job control, made us ignore stays ignored.
    numbers = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in numbers}
    if hasattr(signal, "SIGPIPE"):
        before[signal.SIGPIPE] = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _with_passphrase(settings: config.ClientConfig) -> config.ClientConfig:
    """Ask for the passphrase of the identity, before a view takes the terminal.

    Raises:
        FileError: if nobody can be asked.
        UsageError: if a new one was not typed twice.
    """
    if settings.ephemeral or settings.passphrase is not None:
        return settings
    try:
        data = files.read_private(config.identity_path(settings, os.environ)) or b""
    except FileError as problem:
        raise FileError(config.elsewhere(problem)) from None
    is_encrypted = b"ENCRYPTED" in data
    if not is_encrypted and not settings.asks_passphrase:
        return settings
    if not is_terminal(0):
        raise FileError("Your identity needs its passphrase. Give it with --passphrase-file.")
    # Here, since few want it.
    from getpass import getpass

    try:
        passphrase = getpass("Passphrase: " if is_encrypted else "New passphrase: ")
        if not is_encrypted and getpass("The same again: ") != passphrase:
            raise UsageError("The two differ. Nothing was encrypted.")
    except EOFError:
        passphrase = ""
    if not passphrase:
        raise FileError("No passphrase was given.")
    return settings._replace(passphrase=passphrase)


def end(code: int) -> None:
    """End the process: at once if something still dials, or what it runs in would abort."""
    # Here, because the first frame has no use for it.
    import threading

    if not any(thread.daemon for thread in threading.enumerate()):
        sys.exit(code)
    os._exit(code)
