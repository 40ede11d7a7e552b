"""Flags and environment, merged into one value per program.

A flag beats the environment, which beats the default; it is decided here, once. Flags show in `ps`,
so KEY and password may come from the environment too.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from common import names
from common.errors import UsageError

DEFAULT_PORT = 1719
DEFAULT_PASSWORD = "top_secret"  # noqa: S105 - public on purpose, and both programs say so
DEFAULT_ROOM_SIZE = 256
MAX_ROOM_SIZE = 1_000
DEFAULT_ROOMS = 100
DEFAULT_GRACE_S = 120.0
MAX_GRACE_S = 24 * 3600.0
DEFAULT_RATE = 10.0
DEFAULT_BURST = 40.0
DEFAULT_INBOUND_BYTES_S = 4 * 1024 * 1024.0
MAX_LIMIT = 1e12
"""A limit so high is none."""


class ServerConfig(NamedTuple):
    """What `server.py` was told.

    Attributes:
        password: None if the public default is used.
        hosts: names or addresses to bind; empty for every address.
        rooms: how many at a time; 0 for the lobby only.
        threads: loop threads; 0 to choose by the build of Python.
        grace_s: how long a name is held for a lost connection.
        data: where the relay key and the log outlive the process; None: in memory.
        rate: CARD, MESSAGE and COMMAND records per second that a connection may send.
        burst: how many of them at once.
        inbound_bytes_s: what is read of a connection; twice as much at once.
    """

    password: str | None = None
    port: int = DEFAULT_PORT
    hosts: tuple[str, ...] = ()
    room_size: int = DEFAULT_ROOM_SIZE
    rooms: int = DEFAULT_ROOMS
    threads: int = 0
    grace_s: float = DEFAULT_GRACE_S
    data: Path | None = None
    rate: float = DEFAULT_RATE
    burst: float = DEFAULT_BURST
    inbound_bytes_s: float = DEFAULT_INBOUND_BYTES_S


class ClientConfig(NamedTuple):
    """What `client.py` was told.

    Attributes:
        ticket: KEY[.SECRET][@HOST[:PORT]] as it was pasted; "" if there is none.
        password: None to try the public default, and ask if that is refused.
        url: "" to take the address from the ticket.
        room: wire name.
        home: None for the place of UX.md 8.
    """

    ticket: str
    username: str
    password: str | None = None
    url: str = ""
    room: str = ""
    home: Path | None = None
    ephemeral: bool = False
    plain: bool = False
    colour: bool = True
    log: Path | None = None

    @property
    def offered_password(self) -> str:
        """What the relay is shown before anybody is asked."""
        return DEFAULT_PASSWORD if self.password is None else self.password


class _Parser(argparse.ArgumentParser):
    """argparse, but a mistake is an exception with one sentence."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[:1].upper()}{message[1:]}. See {self.prog} --help.")


def load_server(argv: Sequence[str], environ: Mapping[str, str]) -> ServerConfig:
    """Read the command line of the relay.

    Raises:
        UsageError: if it is wrong.
    """
    parser = _Parser(
        prog="server.py",
        allow_abbrev=False,
        description="Relay for private rooms. It prints a KEY; guests join with client.py KEY.",
    )
    add = parser.add_argument
    add("--password", metavar="X", help="what guests need beside KEY (or TERMCHAT_PASSWORD)")
    add(
        "-p",
        "--port",
        type=_port,
        default=DEFAULT_PORT,
        help="default %(default)s; 0: any free one",
    )
    add(
        "--host",
        action="append",
        default=[],
        metavar="HOST",
        help="address to listen on; default: all with --password, else localhost",
    )
    add("--room-size", type=_whole(1, MAX_ROOM_SIZE), default=DEFAULT_ROOM_SIZE, metavar="N")
    add(
        "--rooms", type=_whole(0, 100_000), default=DEFAULT_ROOMS, metavar="N", help="0: lobby only"
    )
    add("--threads", type=_whole(0, 256), default=0, metavar="N", help="loop threads")
    add(
        "--grace",
        type=_number(0, MAX_GRACE_S, " seconds"),
        default=DEFAULT_GRACE_S,
        metavar="SECONDS",
        help="how long a lost member's name is held; default 120",
    )
    add(
        "--data",
        type=Path,
        metavar="DIR",
        help="keeps KEY and what members may have missed over a restart",
    )
    limit = _number(1, MAX_LIMIT, "")
    add("--rate", type=limit, default=DEFAULT_RATE, help="messages per second and member")
    add("--burst", type=limit, default=DEFAULT_BURST, help="messages of a member at once")
    add(
        "--inbound",
        type=_number(65_536, MAX_LIMIT, " bytes"),
        default=DEFAULT_INBOUND_BYTES_S,
        metavar="BYTES",
        help="read of a member per second; default 4 MiB",
    )
    given = parser.parse_args(argv)
    password: str | None = given.password
    if password is None:
        # Set but empty is unset: an empty password must not open the relay to every address.
        password = environ.get("TERMCHAT_PASSWORD") or None
    hosts = tuple(given.host) or (("localhost",) if password is None else ())
    return ServerConfig(
        password=password,
        port=given.port,
        # An address that means every one is what an empty list means.
        hosts=() if any(host in ("", "*") for host in hosts) else hosts,
        room_size=given.room_size,
        rooms=given.rooms,
        threads=given.threads,
        grace_s=given.grace,
        data=given.data,
        rate=given.rate,
        burst=given.burst,
        inbound_bytes_s=given.inbound,
    )


def load_client(argv: Sequence[str], environ: Mapping[str, str]) -> ClientConfig:
    """Read the command line of a member.

    Raises:
        UsageError: if it is wrong.
    """
    parser = _Parser(
        prog="client.py",
        allow_abbrev=False,
        description="Joins a private room. KEY is what the server printed.",
        epilog="Example: client.py KEY@chat.example.org --username ace",
    )
    add = parser.add_argument
    add("key", nargs="?", metavar="KEY[@HOST[:PORT]]", help="or TERMCHAT_KEY")
    add("--username", metavar="NAME", help="default: user_ and four digits")
    add("--password", metavar="X", help="or TERMCHAT_PASSWORD; asked for when it is needed")
    add("--url", default="", help="the server's address, as ws://localhost:1719/")
    add("--room", default="", metavar="NAME", help="default: the lobby")
    add("--home", type=Path, metavar="DIR", help="where identity and pins live")
    add("--ephemeral", action="store_true", help="keep nothing on disk")
    add("--plain", action="store_true", help="line mode: no screen, one event a row")
    add("--no-color", action="store_false", dest="colour")
    add("--log", type=Path, metavar="FILE", help="write what went wrong to FILE")
    given = parser.parse_args(argv)
    username: str | None = given.username
    if username is None:
        username = f"user_{int.from_bytes(os.urandom(4)) % 10_000:04}"
    names.check_username(username)
    password: str | None = given.password
    if password is None:
        password = environ.get("TERMCHAT_PASSWORD") or None
    home: Path | None = given.home
    if home is None and environ.get("TERMCHAT_HOME"):
        home = Path(environ["TERMCHAT_HOME"])
    return ClientConfig(
        ticket=given.key or environ.get("TERMCHAT_KEY", ""),
        username=username,
        password=password,
        url=given.url,
        room=names.room_from_user(given.room) if given.room else "",
        home=home,
        ephemeral=given.ephemeral,
        plain=given.plain,
        colour=given.colour and not environ.get("NO_COLOR"),
        log=given.log,
    )


def default_home(environ: Mapping[str, str]) -> Path:
    """Return where identity and pins live when nothing else was said (UX.md 8)."""
    state = environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "termchat"


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) < 65_536):
        raise argparse.ArgumentTypeError(f"{text!r} is no port, which is 0 to 65535")
    return int(text)


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 9):
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
        if not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text} is not {least} to {most}")
        return int(text)

    return parse


def _number(least: float, most: float, unit: str) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not {least:.0f} to {most:.0f}{unit}")
        return value

    return parse
