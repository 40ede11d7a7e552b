"""The command line of a client: settings, what is asked before a view, and the end."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from typing import Final

from common import config, files, title
from common.client import stage
from common.client.views import choose_view
from common.client.words import (
    EXIT_INTERRUPTED,
    exit_code,
    print_row,
    say,
    say_last,
)
from common.errors import FileError, TermchatError, UsageError
from common.view.output import is_terminal

YOUNG_OBJECTS: Final = 20_000
"""How many new objects are looked through for garbage: imports make these, and no garbage."""


def main(argv: list[str]) -> int:
    """Join a room; return the exit code (UX.md 8)."""
    files.open_streams()
    gc.set_threshold(YOUNG_OBJECTS)
    try:
        settings = config.load_client(argv, os.environ)
        title.hide((settings.ticket, settings.password), os.environ, config.SECRET_VARIABLES)
        for warning in settings.warnings:
            say(warning)
        if settings.task == "genkey":
            from common.client.peer import genkey

            print_row(genkey())
            return 0
        if settings.task == "completion":
            # Here, because it is asked for once in the life of a shell.
            from common import completion

            print_row(completion.script(settings.completion, config.CLIENT_HELP).rstrip("\n"))
            return 0
        if settings.task:
            from common.client.peer import init

            init(settings)
            return 0
        if settings.peer is not None:
            from common.client.peer import peer_mode

            return peer_mode(_with_passphrase(settings), settings.peer)
        if not settings.ticket:
            raise UsageError(
                "There is no KEY and no config.ini: run client.py KEY with what a server printed, "
                "or client.py --init to talk without a server."
            )
        settings = _with_passphrase(settings)
        view = choose_view(settings)
        # Who has no screen sees nothing early, and should hear first what is wrong.
        member = None
        if not view.is_screen:
            from common.client.dial import make_member

            member = make_member(settings, view)
    except TermchatError as problem:
        say(str(problem))
        return exit_code(problem)
    except KeyboardInterrupt:  # at a question, or before the loop takes signals
        print_row("")
        return EXIT_INTERRUPTED
    with stage.taken(settings, view) as caught:
        # Here, since the first frame waits for no socket.
        from common.client.loop import Client

        client = Client(settings, view, caught, member)
        code = client.run()
    say_last(client.details, client.last_words, print_row if settings.check else say)
    return code


def _with_passphrase(settings: config.ClientConfig) -> config.ClientConfig:
    """Ask for the passphrase of the identity, before a view takes the terminal.

    Raises:
        FileError: if nobody can be asked.
        UsageError: if a new one was not typed twice.
    """
    if settings.ephemeral or settings.passphrase is not None:
        return settings
    data = files.read_private(config.identity_path(settings, os.environ)) or b""
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
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)
