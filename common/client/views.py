"""Which view a client has: the screen, lines, or pipes for programs."""

from __future__ import annotations

import os

from common import config, names
from common.client.words import say
from common.errors import FileError, UsageError
from common.view.output import is_terminal
from common.view.view import VALUES, View


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
        return _pipes(settings)
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


def _pipes(settings: config.ClientConfig) -> View:
    # Here, because people need none of it.
    from common.view.feed import Feed, LineFeed, RowFeed
    from common.view.pipes import Pipes

    feed: Feed | None = None
    if settings.sends and settings.json:
        feed = RowFeed()
    elif settings.sends:
        feed = LineFeed(is_block=settings.is_block, is_strict=settings.is_strict)
    room = names.room_for_user(settings.room)
    is_tail = settings.tail is not None
    return Pipes(room, feed, is_tail=is_tail, is_json=settings.json, most=settings.tail or 0)
