"""Flags, environment and `config.ini`, merged into one value per program.

A flag beats the environment, which beats the file, which beats the default; it is decided here,
once. An option is a row of `CLIENT_FLAGS` or `SERVER_FLAGS`, and a field whose default is its own.
Flags show in `ps` until `proctitle` has hidden them, so KEY and password may come from elsewhere.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from common import files, ini, names, streams
from common.errors import FileError, Inaccessible, UsageError

SECRET_VARIABLES = ("TERMCHAT_KEY", "TERMCHAT_PASSWORD")

VERSION = "termchat 1.0, protocol termchat.v1"
DEFAULT_PORT = 1719
KEY_CHARS = 44
"""Of KEY as text (PROTOCOL.md 2), without what may follow it."""
DEFAULT_PASSWORD = "top_secret"  # noqa: S105 - public on purpose, and both programs say so
MAX_LIMIT = 1e12
"""A limit so high is none."""

PEER_PORT = 50_233
"""What `--init` proposes: in the range that nobody is assigned (RFC 6335 6)."""
PEER_RATE = 1_000.0
"""MESSAGEs that a peer sends in a second (PROTOCOL.md 2): no stranger holds the key they share."""
CLIENT_HELP = """\
Usage: client.py KEY[@HOST[:PORT]] [--username NAME] [options]
Joins a private room. KEY is what the server printed; or TERMCHAT_KEY is.
  --username NAME       default: the last one with this relay, or asked for
  --password X          or TERMCHAT_PASSWORD; asked for when it is needed
  --key-file FILE       KEY, --password-file FILE: the first line; -: of stdin
  --key-command CMD     what CMD prints first; --password-command CMD
  --url URL             ws://HOST:PORT/, wss://HOST/, unix:PATH; --cafile FILE
  --check               only say whether it can be reached; --room NAME
  --home DIR            where identity and pins live; --ephemeral: nowhere
  --passphrase          encrypts your identity; --passphrase-file FILE
  --plain               line mode; --no-color; --log FILE: what went wrong
  --notify-command CMD  run when you are called: TERMCHAT_ROOM, TERMCHAT_NAME
  --send                stdin; --block --strict: as one; --timeout SECONDS
  --tail [N]            print the next N messages, or all; --json: as objects
  --config FILE         settings; else ./config.ini, if there is one
  --init, --genkey      for a chat of two without a server: a file, or a key
  --listen              ... wait for the other; --connect HOST:PORT: go there
  --forget              removes what is kept of a relay: name, KEY, pins
  --completion SHELL    for bash, zsh or fish; --version; -h, --help
Examples:
  client.py KEY@chat.example.org --username ace
  make 2>&1 | client.py KEY --send --username build
  client.py KEY --tail --json | jq -r .text
"""
SERVER_HELP = """\
Usage: server.py [--password X] [--host HOST] [-p PORT] [options]
Relay for private rooms. It prints a KEY; guests join with client.py KEY.
  --password X          what guests need beside KEY; or TERMCHAT_PASSWORD
  --password-file FILE  its first line is; -: of stdin; --password-command CMD
  --host HOST           address or unix:PATH, may be given again; default: all
                        with a password, else localhost
  -p, --port PORT       default 1719; 0: any free one
  --data DIR            keeps KEY and what members may have missed; --qr: as QR
  --room-size N         members per room, 256; --rooms N: 100; 0: lobby only
  --grace SECONDS       how long a lost member's name is held; 120
  --operator DIGITS     a fingerprint that may use the host's commands
  --log FILE            who came, left and was refused; what operators did
  --trust-proxy ADDRESS believe its X-Forwarded-For; also a network, or unix
  --rate N              messages per second and member, 10; --burst N: 40
  --inbound BYTES       read of a member per second; 4 MiB
  --threads N           loop threads; the default is right
  --config FILE         defaults; else ./config.ini; --version; -h, --help
Examples:
  server.py
  server.py --password-file secret --data /var/lib/termchat
  server.py --password X --host unix:/run/termchat/sock --trust-proxy unix
"""


OPTIONS = ("mouse", "joins", "bell", "notify", "notify_words", "theme", "clipboard")
"""What `/set` sets, as `common.view.view` knows it."""
SHELLS = ("bash", "zsh", "fish")
_PARAMETERS = ("ip", "port", "fernet_key", "username")
_WORDS = {"yes": True, "on": True, "true": True, "1": True}
_WORDS |= {"no": False, "off": False, "false": False, "0": False}


class Option(NamedTuple):
    """A setting of `/set`, and where it stands, for the sentence that refuses it."""

    name: str
    value: str
    where: str


class PeerConfig(NamedTuple):
    """What `[parameters]` says (PROTOCOL.md 2, peer to peer), and flags beside it.

    Attributes:
        file: where it stands, for sentences.
        ip: an address of this machine.
        port: 1 to 65535.
        fernet_key: as it was pasted.
        mode: "listen", "connect", or "" to ask.
        address: HOST:PORT to connect to; "" to ask.
    """

    file: str
    ip: str
    port: int
    fernet_key: str
    mode: str = ""
    address: str = ""

    def __repr__(self) -> str:
        """Hide the key."""
        return "PeerConfig()"


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
        warnings: sentences about what the file says and nobody reads.
        operators: fingerprints, 30 digits each.
        log: where joins, leaves, refusals and what operators do are written.
        proxies: networks, or "unix", from which X-Forwarded-For or Forwarded is believed.
        qr: whether the first line to join with is shown as a QR code too.
    """

    password: str | None = None
    port: int = DEFAULT_PORT
    hosts: tuple[str, ...] = ()
    room_size: int = 256
    rooms: int = 100
    threads: int = 0
    grace_s: float = 120.0
    data: str | None = None
    rate: float = 10.0
    burst: float = 40.0
    inbound_bytes_s: float = 4 * 1024 * 1024.0
    warnings: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    log: str | None = None
    proxies: tuple[str, ...] = ()
    qr: bool = False

    def __repr__(self) -> str:
        """Hide the password."""
        return "ServerConfig()"


class ClientConfig(NamedTuple):
    """What `client.py` was told.

    Attributes:
        ticket: KEY[.SECRET][@HOST[:PORT]] as it was pasted; "" if there is none.
        password: None to try the public default, and ask if that is refused.
        url: "" to take the address from the ticket; also `unix:PATH`.
        ca_file: whom to believe about TLS; None for what Python does.
        check: only see whether the relay can be reached.
        completion: the shell for which to print a script, and no more.
        room: wire name.
        home: None for the place of UX.md 8.
        is_made_up: whether the username is, since nobody said one.
        keeps_key: what was answered when somebody was asked; None if nobody was.
        task: "genkey", "init", "completion" or "forget", to be done instead of joining.
        file: the one given with --config.
        peer: where there is no KEY, but a file that makes do without a server.
        options: what `/set` starts from.
        notify_command: "" for none; never from a file that lay in the folder we were started in.
        warnings: sentences about what the file says and nobody reads.
        passphrase: of the identity file; None if none was given.
        asks_passphrase: whether to ask for one even if the file is not encrypted yet.
        sends: standard input is sent; `is_block`: all of it as one, `is_strict`: nothing is split.
        timeout_s: how long that goes on while nothing is delivered.
        tail: messages to print before the end; 0: for ever; None: nothing is printed.
    """

    ticket: str
    username: str
    password: str | None = None
    url: str = ""
    room: str = ""
    home: str | None = None
    ephemeral: bool = False
    plain: bool = False
    colour: bool = True
    log: str | None = None
    task: str = ""
    file: str | None = None
    peer: PeerConfig | None = None
    options: tuple[Option, ...] = ()
    notify_command: str = ""
    warnings: tuple[str, ...] = ()
    passphrase: str | None = None
    asks_passphrase: bool = False
    sends: bool = False
    is_block: bool = False
    is_strict: bool = False
    timeout_s: float = 60.0
    tail: int | None = None
    json: bool = False
    ca_file: str | None = None
    check: bool = False
    completion: str = ""
    is_made_up: bool = False
    keeps_key: bool | None = None

    def __repr__(self) -> str:
        """Hide KEY, password and passphrase."""
        return "ClientConfig()"

    @property
    def offered_password(self) -> str:
        """What the relay is shown before anybody is asked."""
        return DEFAULT_PASSWORD if self.password is None else self.password

    @property
    def is_pipe(self) -> bool:
        """Whether programs, not a person, are at both ends."""
        return self.sends or self.tail is not None or self.check


def _filled(text: str) -> str | None:
    return text or None


def _path(text: str) -> str:
    return text or os.curdir


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) < 65_536):
        raise argparse.ArgumentTypeError(f"{text!r} is no port, which is 0 to 65535")
    return int(text)


def _fingerprint(text: str) -> str:
    digits = text.replace(" ", "")
    if not (digits.isascii() and digits.isdigit() and len(digits) == 30):
        raise argparse.ArgumentTypeError(f"{text!r} is no fingerprint, which has 30 digits")
    return digits


def _network(text: str) -> str:
    # Here, because a client has no use for it.
    import ipaddress

    if text == "unix":
        return text
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no IP address or network") from None


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


# --- The rows.


class Flag(NamedTuple):
    """An option: the parser, what else may say it, and completion follow from it.

    Attributes:
        said: the flag, in its forms, the long one last; "" for what is told by its place.
        value: what the help calls its value; "" if it takes none.
        field: of the program's value, or of what is made of it.
        read: makes a value of text; None is as if nothing was said.
        action: of argparse.
        file: its name in the program's section of `config.ini`; "" if it may not stand there.
        is_own: whether of files only one that was named, or is at home, may say it.
        variable: of the environment; a flag without a value takes any text for having been said.
        is_alternative: whether only one such flag can be given.
    """

    said: str
    value: str
    field: str
    read: Callable[[str], object] = str
    action: str = "store"
    file: str = ""
    is_own: bool = False
    variable: str = ""
    choices: Sequence[str] | None = None
    is_alternative: bool = False


_LIMIT, _BYTES = _number(1, MAX_LIMIT, ""), _number(65_536, MAX_LIMIT, " bytes")
# Not from a file: home and log, since a downloaded folder must not choose where we write; nor
# operators, whom the folder of `data` names too, beside the relay key. Hence `is_own`, and since it
# must not choose whom we talk to unasked, that we trust anew, nor for whom a relay is open.
CLIENT_FLAGS = (
    Flag("--completion", "SHELL", "completion", choices=SHELLS),
    Flag("", "KEY[@HOST[:PORT]]", "ticket", _filled, file="key", variable="TERMCHAT_KEY"),
    Flag("--username", "NAME", "username", file="username"),
    Flag("--key-file", "FILE", "key_file", _filled),
    Flag("--password", "X", "password", file="password", variable="TERMCHAT_PASSWORD"),
    Flag("--password-file", "FILE", "password_file", _filled),
    Flag("--key-command", "CMD", "key_command", _filled),
    Flag("--password-command", "CMD", "password_command", _filled),
    Flag("--url", "URL", "url", file="url"),
    Flag("--cafile", "FILE", "ca_file", _path),
    Flag("--check", "", "check", action="store_true"),
    Flag("--room", "NAME", "room", file="room", is_own=True),
    Flag("--home", "DIR", "home", _path, variable="TERMCHAT_HOME"),
    Flag("--passphrase", "", "asks_passphrase", action="store_true"),
    Flag("--passphrase-file", "FILE", "passphrase_file"),
    Flag("--ephemeral", "", "ephemeral", action="store_true", file="ephemeral", is_own=True),
    Flag("--plain", "", "plain", action="store_true", file="plain"),
    Flag("--no-color", "", "colour", action="store_false", file="color", variable="NO_COLOR"),
    Flag("--log", "FILE", "log", _path),
    Flag("--send", "", "sends", action="store_true"),
    Flag("--block", "", "is_block", action="store_true"),
    Flag("--strict", "", "is_strict", action="store_true"),
    Flag("--timeout", "SECONDS", "timeout_s", _number(1, 7 * 24 * 3600.0, " seconds")),
    Flag("--tail", "[N]", "tail", _whole(0, 999_999_999)),
    Flag("--json", "", "json", action="store_true"),
    Flag("--notify-command", "CMD", "notify_command", _filled, file="notify_command", is_own=True),
    Flag("--config", "FILE", "file", _path),
    Flag("--listen", "", "listen", action="store_true", is_alternative=True),
    Flag("--connect", "HOST:PORT", "connect", _filled, is_alternative=True),
    Flag("--forget", "", "forget", action="store_true", is_alternative=True),
    Flag("--genkey", "", "genkey", action="store_true", is_alternative=True),
    Flag("--init", "", "init", action="store_true", is_alternative=True),
)
SERVER_FLAGS = (
    Flag(
        "--password",
        "X",
        "password",
        file="password",
        is_own=True,
        variable="TERMCHAT_PASSWORD",
    ),
    Flag("--password-file", "FILE", "password_file", _filled),
    Flag("--password-command", "CMD", "password_command", _filled),
    Flag("--qr", "", "qr", action="store_true"),
    Flag("-p, --port", "PORT", "port", _port, file="port"),
    Flag("--host", "HOST", "hosts", action="append", file="host", is_own=True),
    Flag("--room-size", "N", "room_size", _whole(1, 1_000), file="room_size"),
    Flag("--rooms", "N", "rooms", _whole(0, 100_000), file="rooms"),
    Flag("--threads", "N", "threads", _whole(0, 256), file="threads"),
    Flag("--grace", "SECONDS", "grace_s", _number(0, 24 * 3600.0, " seconds"), file="grace"),
    Flag("--operator", "DIGITS", "operators", _fingerprint, action="append"),
    Flag("--log", "FILE", "log", _path),
    Flag("--data", "DIR", "data", _path, file="data", is_own=True),
    Flag("--rate", "N", "rate", _LIMIT, file="rate"),
    Flag("--burst", "N", "burst", _LIMIT, file="burst"),
    Flag("--inbound", "BYTES", "inbound_bytes_s", _BYTES, file="inbound"),
    Flag("--trust-proxy", "ADDRESS", "proxies", _network, action="append"),
    Flag("--config", "FILE", "file", _path),
)
_KNOWN = {
    "parameters": dict.fromkeys(_PARAMETERS, False),
    "client": {row.file: row.is_own for row in CLIENT_FLAGS if row.file}
    | dict.fromkeys(OPTIONS, False),
    "server": {row.file: row.is_own for row in SERVER_FLAGS if row.file},
}


class _Parser(argparse.ArgumentParser):
    """argparse, but a mistake is an exception with one sentence."""

    def __init__(self, prog: str, rows: Sequence[Flag]) -> None:
        # One for all flags, of a width: argparse would ask the terminal for each, and import 4 ms.
        formatter = argparse.HelpFormatter(prog, width=80)
        super().__init__(prog=prog, allow_abbrev=False, formatter_class=lambda **_: formatter)
        self._rows = rows
        self.add_argument("--version", action="version", version=VERSION)
        alternatives = self.add_mutually_exclusive_group()
        for row in rows:
            more: dict[str, Any] = {"type": row.read, "choices": row.choices} if row.value else {}
            to = alternatives if row.is_alternative else self
            # What is not said is None, so that it can come from elsewhere.
            more |= {"dest": row.field, "action": row.action, "default": None}
            if row.said:
                to.add_argument(*row.said.split(", "), **more)
            else:
                to.add_argument(nargs="?", **more)

    def said(self, argv: Sequence[str]) -> dict[str, Any]:
        """Return what a command line says, by field."""
        found = vars(self.parse_args(argv))
        given = {}
        for row in self._rows:
            value = found[row.field]
            # What an older argparse makes of --flag=-- is no text.
            if isinstance(value, list) and (not value or [] in value):
                self.error(f"argument {row.said}: expected one argument")
            if value is not None:
                given[row.field] = tuple(value) if row.action == "append" else value
        return given

    def _print_message(self, message: str, file: object = None) -> None:
        streams.put_out(message)  # of help and version; what is wrong is raised

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[:1].upper()}{message[1:]}. See {self.prog} --help.")

    def format_help(self) -> str:
        """Return a help that fits a screen, which what argparse would make does not."""
        return CLIENT_HELP if self.prog == "client.py" else SERVER_HELP


def load_server(argv: Sequence[str], environ: Mapping[str, str]) -> ServerConfig:
    """Read the command line of the relay.

    Raises:
        UsageError: if it is wrong.
    """
    parser = _Parser("server.py", SERVER_FLAGS)
    given = parser.said(argv)
    sources = ini.find(_KNOWN, given.get("file"))
    values = _from_files(SERVER_FLAGS, "server", sources)
    values |= _from_environment(SERVER_FLAGS, environ) | given | _secrets(parser, given)
    if values.get("password") == "":
        raise UsageError("An empty password is none. Give another, or no --password at all.")
    hosts = values.get("hosts") or (() if "password" in values else ("localhost",))
    if "unix:" in hosts:  # Linux would choose an address that nobody knows
        raise UsageError("--host unix: needs a path: unix:PATH. See server.py --help.")
    # An address that means every one is what an empty list means.
    values["hosts"] = () if any(host in ("", "*") for host in hosts) else hosts
    values["warnings"] = _warnings(sources)
    return ServerConfig(**_of(ServerConfig._fields, values))


def load_client(argv: Sequence[str], environ: Mapping[str, str]) -> ClientConfig:
    """Read the command line of a member.

    Raises:
        UsageError: if it is wrong.
    """
    parser = _Parser("client.py", CLIENT_FLAGS)
    given = parser.said(_with_tail(argv))
    _check_pipes(parser, given)
    task = next((name for name in ("genkey", "init", "completion") if name in given), "")
    if task:
        given |= {"ticket": "", "username": given.get("username", ""), "task": task}
        wanted = ("ticket", "username", "task", "file", "completion")
        return ClientConfig(**_of(wanted, given))
    passphrase = None
    if "passphrase_file" in given:
        passphrase = files.read_secret(given["passphrase_file"], "Passphrase")
    if "ephemeral" in given and ("asks_passphrase" in given or passphrase is not None):
        raise UsageError("--ephemeral keeps no identity that a passphrase could encrypt.")
    said = _from_environment(CLIENT_FLAGS, environ) | given
    home = said.get("home") or _default_home(environ)
    sources = ini.find(_KNOWN, given.get("file"))
    try:
        sources += ini.at_home(_KNOWN, home)
    except Inaccessible as problem:
        if "ephemeral" not in given:
            raise FileError(elsewhere(problem)) from None
    values = _from_files(CLIENT_FLAGS, "client", sources)
    said |= _secrets(parser, given)
    values |= said
    if not given.get("url") and "@" in said.get("ticket", ""):
        values["url"] = ""  # a file does not send elsewhere who was told where to go
    mode = next((name for name in ("listen", "connect") if name in given), "")
    if mode and "ticket" in given:
        raise UsageError(f"--{mode} is for a chat without a server, which has no KEY.")
    # Of two files the nearer one that says which kind of chat it is decides.
    kinds = (("parameters" in s.sections, "key" in s.sections.get("client", {})) for s in sources)
    is_peer, has_key = next((kind for kind in kinds if any(kind)), (False, False))
    values.setdefault("ticket", "")
    username = values.get("username")
    if mode or (is_peer and not has_key and "ticket" not in said):
        values["ticket"] = ""
        address = given.get("connect", "")
        values["peer"], username = _peer(sources, mode, address, given.get("username"))
    values["is_made_up"] = username is None
    if username is None:
        username = f"user_{int.from_bytes(os.urandom(4)) % 10_000:04}"
    username = names.username_from_user(username)
    room = values.get("room")
    values |= {
        "username": username,
        "room": names.room_from_user(room) if room else "",
        "options": _options(sources),
        "warnings": _warnings(sources),
        "passphrase": passphrase,
        "task": "forget" if "forget" in given else "",
    }
    return ClientConfig(**_of(ClientConfig._fields, values))


def identity_path(settings: ClientConfig, environ: Mapping[str, str]) -> str:
    """Return where the identity is kept.

    Raises:
        FileError: if there is no such place.
    """
    return os.path.join(settings.home or default_home(environ), "identity")


def relays_path(settings: ClientConfig, environ: Mapping[str, str]) -> str:
    """Return where it is kept what was used of relays.

    Raises:
        FileError: if there is no such place.
    """
    return os.path.join(settings.home or default_home(environ), "relays")


def _secrets(parser: argparse.ArgumentParser, given: Mapping[str, Any]) -> dict[str, str]:
    """Read KEY and password where the command line says in which file they are, or who has them."""
    found = {}
    for field, said, what in (("ticket", "KEY", "KEY"), ("password", "--password", "Password")):
        flag, least = f"--{what.lower()}", KEY_CHARS if field == "ticket" else 0
        path, command = given.get(f"{what.lower()}_file"), given.get(f"{what.lower()}_command")
        ways = {said: field in given, f"{flag}-file": path, f"{flag}-command": command}
        if len(told := [way for way, is_told in ways.items() if is_told]) > 1:
            parser.error(f"{' and '.join(told)} are {len(told)} ways to say one thing")
        if field == "ticket" and given.get(field) == "-":
            path = "-"
        if path:
            found[field] = files.read_secret(path, what, least)
        if command:
            # Here, since it costs 3 ms.
            from common import keyring

            found[field] = keyring.ask(command, f"{flag}-command", what, SECRET_VARIABLES, least)
    return found


def _with_tail(argv: Sequence[str]) -> list[str]:
    """Give `--tail` its number if it has none, or it would take KEY for one."""
    after = [*argv[1:], ""]
    pairs = zip(argv, after, strict=False)
    return [f"{a}=0" if a == "--tail" and not b.isdecimal() else a for a, b in pairs]


def _check_pipes(parser: argparse.ArgumentParser, given: Mapping[str, Any]) -> None:
    """Check that the flags of pipes go together.

    Raises:
        UsageError: if they do not.
    """
    sends, is_tail = "sends" in given, "tail" in given
    is_of_lines = "is_block" in given or "is_strict" in given
    if not sends and (is_of_lines or "timeout_s" in given):
        parser.error("--block, --strict and --timeout go with --send")
    if "json" in given and not sends and not is_tail:
        parser.error("--json goes with --send or --tail")
    if "notify_command" in given and (sends or is_tail):
        parser.error("--notify-command calls a person; a program reads --tail")
    if "json" in given and is_of_lines:
        parser.error("with --json each row is a message; --block and --strict are about lines")


def elsewhere(problem: Exception) -> str:
    """Return what to say of a home folder that cannot be used."""
    if not isinstance(problem, Inaccessible):
        return str(problem)
    return f"{problem} Use another home with --home DIR, or none with --ephemeral."


def default_home(environ: Mapping[str, str]) -> str:
    """Return where identity and pins live when nothing else was said (UX.md 8).

    Raises:
        FileError: if nobody of our number is known, and HOME is not set.
    """
    state = environ.get("XDG_STATE_HOME")
    if not state:
        user = os.path.expanduser("~")
        if user == "~":
            raise FileError(
                "You have no home folder to keep your identity in. Name one with --home DIR, or do "
                "without one with --ephemeral."
            )
        state = os.path.join(user, ".local", "state")
    return os.path.join(state, "termchat")


def _default_home(environ: Mapping[str, str]) -> str | None:
    try:
        return default_home(environ)
    except FileError:
        return None


# --- What is not said on the command line.


def _from_environment(rows: Sequence[Flag], environ: Mapping[str, str]) -> dict[str, Any]:
    # Set but empty is unset: an empty password must not open the relay to every address.
    return {
        row.field: row.read(environ[row.variable]) if row.value else row.action == "store_true"
        for row in rows
        if row.variable and environ.get(row.variable)
    }


def _from_files(rows: Sequence[Flag], section: str, sources: list[ini.Source]) -> dict[str, Any]:
    """Return what the files say, by field.

    Raises:
        UsageError: if a value is wrong.
    """
    by_name = {row.file: row for row in rows if row.file}
    return {
        by_name[name].field: _value(by_name[name], text, source.where(section, name))
        for source in reversed(sources)
        for name, text in source.sections.get(section, {}).items()
        if name in by_name
    }


def _value(row: Flag, text: str, where: str) -> object:
    """Read a value as the flag would.

    Raises:
        UsageError: if it is wrong.
    """
    if not row.value:
        if text.lower() not in _WORDS:
            raise UsageError(f"{where} is {text!r}, which is neither yes nor no.")
        return _WORDS[text.lower()]
    try:
        if row.action == "append":
            return tuple(row.read(word) for word in text.replace(",", " ").split())
        return row.read(text)
    except argparse.ArgumentTypeError as problem:
        raise UsageError(f"{where} is wrong: {problem}.") from None


def _of(fields: Sequence[str], values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in fields if name in values}


def _warnings(sources: list[ini.Source]) -> tuple[str, ...]:
    return tuple(sentence for source in sources for sentence in source.warnings)


def _options(sources: list[ini.Source]) -> tuple[Option, ...]:
    found = {}
    for source in reversed(sources):
        for name in OPTIONS:
            value = source.sections.get("client", {}).get(name)
            if value is not None:
                found[name] = Option(name, value, source.where("client", name))
    return tuple(found.values())


def _peer(
    sources: list[ini.Source], mode: str, address: str, username: str | None
) -> tuple[PeerConfig, str]:
    """Return what `[parameters]` says, and the username.

    Raises:
        UsageError: if something is missing or wrong; names file, section and value.
    """
    # Here, since most chat through a server.
    import ipaddress

    source = next((source for source in sources if "parameters" in source.sections), None)
    if source is None:
        where = sources[0].path if sources else ini.FILE
        raise UsageError(f"There is no [parameters] in {where}. client.py --init writes it.")
    values = source.sections["parameters"]
    if username is not None:
        values = {**values, "username": username}
    for name in _PARAMETERS:
        if name not in values:
            raise UsageError(f"There is no {source.where('parameters', name)}.")
    try:
        ipaddress.ip_address(values["ip"])
    except ValueError:
        where = source.where("parameters", "ip")
        raise UsageError(f"{where} is {values['ip']!r}, which is no IP address.") from None
    where = source.where("parameters", "port")
    try:
        port = _port(values["port"])
    except argparse.ArgumentTypeError as problem:
        raise UsageError(f"{where} is wrong: {problem}.") from None
    if not port:
        raise UsageError(f"{where} is 0, which nobody can connect to.")
    try:
        values = {**values, "username": names.username_from_user(values["username"])}
    except UsageError as problem:
        if username is not None:
            raise
        where = source.where("parameters", "username")
        raise UsageError(f"{where} cannot be used: {problem}") from None
    peer = PeerConfig(source.path, values["ip"], port, values["fernet_key"], mode, address)
    return peer, values["username"]
