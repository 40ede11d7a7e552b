"""Which relay, and under which name: as was said, as it is kept, or as is asked before the view."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from common import config, names
from common.client.questions import ask
from common.errors import UsageError
from common.term import text
from common.view.output import is_terminal, print_row

if TYPE_CHECKING:  # each start without a name imports it, and none with one
    from common.member.relays import Kept, Relays

NOBODY: Final = "Nobody answers here. See client.py --help."
NO_KEY: Final = (
    "There is no KEY and no config.ini: run client.py KEY with what a server printed, or client.py "
    "--init to talk without a server."
)


def introduce(settings: config.ClientConfig) -> config.ClientConfig:
    """Find out which relay is meant, and who joins it.

    Raises:
        UsageError: if there is no KEY, and nobody to ask.
        FileError: if what is kept cannot be read.
    """
    is_told = bool(settings.ticket)
    if is_told and (settings.is_pipe or not settings.is_made_up):
        return settings
    has_person = is_terminal(0) and is_terminal(1) and not settings.is_pipe
    if not is_told and not has_person:
        raise UsageError(NO_KEY)
    relays = relays_of(settings)
    found = relays.all() if relays is not None else {}
    if not is_told:
        _check_packages()
        settings = _choose(settings, found)
    server_id = _server_id(settings.ticket)
    kept = found.get(server_id)
    if settings.is_made_up:
        username = kept.username if kept is not None else ""
        if not username and has_person:
            _check_packages()
            username = _ask_name(settings.username)
        settings = settings._replace(username=username or settings.username)
    if not is_told and (kept is None or kept.key != settings.ticket):
        settings = _ask_password(settings)
        if relays is not None and (kept is None or not kept.was_asked):
            settings = _ask_to_keep(settings, relays)
    return settings


def _check_packages() -> None:
    """Import what is needed once all is known: nobody should answer in vain.

    Raises:
        UsageError: if a package is missing.
    """
    from common.client.dial import packages

    with packages():
        import common.member.member  # noqa: F401


def relays_of(settings: config.ClientConfig) -> Relays | None:
    """Return what is kept of relays, if anything may be."""
    # Here, since who says everything needs none of it.
    from common.member.relays import Relays

    if settings.ephemeral:
        return None
    return Relays(config.relays_path(settings, os.environ))


def _server_id(told: str) -> str:
    # Here, for the sake of the first frame.
    from common.crypto import ticket

    return ticket.server_id(ticket.parse(told).key)


def _choose(settings: config.ClientConfig, found: dict[str, Kept]) -> config.ClientConfig:
    """Offer the relays whose KEY is kept, or ask for another one's."""
    offered = [kept for kept in found.values() if kept.key]
    if not offered:
        return settings._replace(ticket=_ask_key())
    for number, kept in enumerate(offered, 1):
        print_row(f"{number}: {_place(kept)} as {kept.username}")

    def chosen(answer: str) -> Kept | None:
        if answer.isascii() and answer.isdigit() and 0 < int(answer) <= len(offered):
            return offered[int(answer) - 1]
        if answer not in ("", "new"):
            raise UsageError("Type a number of those above, or new.")
        return None if answer else offered[0]

    others = "" if len(offered) == 1 else ", a number another"
    question = f"Enter joins {_place(offered[0])}{others}; new asks for KEY: "
    found_one = ask(question, chosen, NOBODY)
    if found_one is None:
        return settings._replace(ticket=_ask_key())
    settings = settings._replace(ticket=found_one.key, room=settings.room or found_one.room)
    return settings._replace(url=settings.url or found_one.url)


def _place(kept: Kept) -> str:
    place = kept.url or kept.key.partition("@")[2] or "this machine"
    return f"{kept.room} at {place}" if kept.room else place


def _ask_key() -> str:
    from common.crypto import ticket

    def key(answer: str) -> str:
        return ticket.encode(ticket.parse(answer))

    return ask("KEY (does not show): ", key, NOBODY, is_hidden=True, may_be_wrapped=True)


def _ask_name(proposed: str) -> str:
    def name(answer: str) -> str:
        return names.username_from_user(answer) if answer else proposed

    return ask(f"Your name here (Enter: {proposed}): ", name, NOBODY)


def _ask_password(settings: config.ClientConfig) -> config.ClientConfig:
    if settings.password is not None:
        return settings
    question = "Password (does not show; Enter if there is none): "
    return settings._replace(password=ask(question, str, NOBODY, is_hidden=True) or None)


def _ask_to_keep(settings: config.ClientConfig, relays: Relays) -> config.ClientConfig:
    def keeps(answer: str) -> bool:
        if answer.lower() not in ("", "y", "yes", "n", "no"):
            raise UsageError("The answer is yes or no.")
        return answer.lower() in ("y", "yes")

    what = "KEY, without its SECRET," if "." in settings.ticket.partition("@")[0] else "KEY"
    where = text.clean(relays.path)
    question = f"Keep {what} in {where}, to be offered next time? (yes or Enter for no): "
    return settings._replace(keeps_key=ask(question, keeps, NOBODY))


def forget(settings: config.ClientConfig) -> str:
    """Remove what is kept of a relay; return a sentence that says what was.

    Raises:
        UsageError: if it is not said which relay, or a package is missing.
        FileError: if a file cannot be used.
    """
    from common.client.dial import packages

    if settings.ephemeral:
        raise UsageError("--ephemeral keeps nothing that could be forgotten.")
    with packages():
        from pathlib import Path

        from common.member import sentences
        from common.member.relays import Keeper, Relays
        from common.member.trust import Pins
    relays = Relays(config.relays_path(settings, os.environ))
    told = settings.ticket
    if not told:
        offered = [kept.key for kept in relays.all().values() if kept.key]
        if len(offered) != 1:
            raise UsageError("Say of which relay: client.py KEY --forget.")
        told = offered[0]
    server_id = _server_id(told)
    pins = Pins(Path(relays.path).with_name("known_peers"))
    kept = Keeper(relays, server_id).forget()
    return sentences.forgotten(kept, pins.forget(server_id))
