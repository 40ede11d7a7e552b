"""Flags, environment and `config.ini`, merged into one value per program.

A flag beats the environment, which beats the file, which beats the default; it is decided here,
once. Flags show in `ps` until `proctitle` has hidden them, so KEY and password may come from
elsewhere.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, NoReturn

from common import files, names
from common.errors import FileError, UsageError

SECRET_VARIABLES = ("TERMCHAT_KEY", "TERMCHAT_PASSWORD")

VERSION = "termchat 1.0, protocol termchat.v1"
DEFAULT_PORT = 1719
DEFAULT_PASSWORD = "top_secret"  # noqa: S105 - public on purpose, and both programs say so
DEFAULT_ROOM_SIZE = 256
MAX_ROOM_SIZE = 1_000
DEFAULT_ROOMS = 100
DEFAULT_GRACE_S = 120.0
MAX_GRACE_S = 24 * 3600.0
DEFAULT_TIMEOUT_S = 60.0
MAX_TIMEOUT_S = 7 * 24 * 3600.0
DEFAULT_RATE = 10.0
DEFAULT_BURST = 40.0
DEFAULT_INBOUND_BYTES_S = 4 * 1024 * 1024.0
MAX_LIMIT = 1e12
"""A limit so high is none."""

FILE = "config.ini"
MAX_FILE_BYTES = 64 * 1024
PEER_PORT = 50_233
"""What `--init` proposes: in the range that nobody is assigned (RFC 6335 6)."""
PEER_RATE = 1_000.0
"""MESSAGEs that a peer sends in a second (PROTOCOL.md 2): no stranger holds the key they share."""
CLIENT_HELP = """\
Usage: client.py KEY[@HOST[:PORT]] [--username NAME] [options]
Joins a private room. KEY is what the server printed; or TERMCHAT_KEY is.
  --username NAME       default: user_ and four digits
  --password X          or TERMCHAT_PASSWORD; asked for when it is needed
  --key-file FILE       KEY, --password-file FILE: the first line; -: of stdin
  --url URL             ws://HOST:PORT/, wss://HOST/, unix:PATH; --cafile FILE
  --check               only say whether it can be reached; --room NAME
  --home DIR            where identity and pins live; --ephemeral: nowhere
  --passphrase          encrypts your identity; --passphrase-file FILE
  --plain               line mode; --no-color; --log FILE: what went wrong
  --notify-command CMD  run when you are called: TERMCHAT_ROOM, TERMCHAT_NAME
  --send                stdin; --block --strict: as one; --timeout SECONDS
  --tail [N]            print messages, the next N or all that come
  --json                read and print one JSON object a line
  --config FILE         settings; else ./config.ini, if there is one
  --init, --genkey      for a chat of two without a server: a file, or a key
  --listen              ... wait for the other; --connect HOST:PORT: go there
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
  --password-file FILE  its first line is; -: that of stdin
  --host HOST           address or unix:PATH, may be given again; default: all
                        with a password, else localhost
  -p, --port PORT       default 1719; 0: any free one
  --data DIR            keeps KEY and what members may have missed
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


OPTIONS = ("mouse", "joins", "bell", "notify", "notify_words")
"""What `/set` sets, as `common.view.view` knows it."""
_RUN = "notify_command"
_DATA = "data"
_CLIENT = ("key", "username", "password", "url", "room", "ephemeral", "plain", "color")
_SERVER = ("password", "port", "host", "room_size", "rooms", "threads", "grace", _DATA)
_LIMITS = ("rate", "burst", "inbound")
_KEYS = {
    "parameters": frozenset(("ip", "port", "fernet_key", "username")),
    "client": frozenset((*_CLIENT, *OPTIONS, _RUN)),
    "server": frozenset((*_SERVER, *_LIMITS)),
}
"""Not home and log: a downloaded folder must not choose where we write. Nor operators, whom the
folder of `data` names too, beside the relay key: hence that is taken from --config only."""
_SECRETS = ("fernet_key", "key", "password")
_OURS = rb"(?m)^(?:\xef\xbb\xbf)?[ \t]*\[(parameters|client|server)\]"
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
        proxies: networks, or "unix", from which X-Forwarded-For is believed.
    """

    password: str | None = None
    port: int = DEFAULT_PORT
    hosts: tuple[str, ...] = ()
    room_size: int = DEFAULT_ROOM_SIZE
    rooms: int = DEFAULT_ROOMS
    threads: int = 0
    grace_s: float = DEFAULT_GRACE_S
    data: str | None = None
    rate: float = DEFAULT_RATE
    burst: float = DEFAULT_BURST
    inbound_bytes_s: float = DEFAULT_INBOUND_BYTES_S
    warnings: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    log: str | None = None
    proxies: tuple[str, ...] = ()


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
        task: "genkey", "init" or "completion", to be done instead of joining.
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
    timeout_s: float = DEFAULT_TIMEOUT_S
    tail: int | None = None
    json: bool = False
    ca_file: str | None = None
    check: bool = False
    completion: str = ""

    @property
    def offered_password(self) -> str:
        """What the relay is shown before anybody is asked."""
        return DEFAULT_PASSWORD if self.password is None else self.password

    @property
    def is_pipe(self) -> bool:
        """Whether programs, not a person, are at both ends."""
        return self.sends or self.tail is not None or self.check


class _Parser(argparse.ArgumentParser):
    """argparse, but a mistake is an exception with one sentence."""

    def __init__(self, prog: str) -> None:
        # Of no width of its own, argparse would ask the terminal, for each flag, and import 4 ms.
        made = functools.partial(argparse.HelpFormatter, width=80)
        super().__init__(prog=prog, allow_abbrev=False, formatter_class=made)

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
    parser = _Parser("server.py")
    add = parser.add_argument
    add("--version", action="version", version=VERSION)
    add("--password", metavar="X")
    add("--password-file", metavar="FILE")
    add("-p", "--port", type=_port, default=DEFAULT_PORT)
    add("--host", action="append", default=[], metavar="HOST")
    add("--room-size", type=_whole(1, MAX_ROOM_SIZE), default=DEFAULT_ROOM_SIZE, metavar="N")
    add("--rooms", type=_whole(0, 100_000), default=DEFAULT_ROOMS, metavar="N")
    add("--threads", type=_whole(0, 256), default=0, metavar="N")
    add(
        "--grace",
        type=_number(0, MAX_GRACE_S, " seconds"),
        default=DEFAULT_GRACE_S,
        metavar="SECONDS",
    )
    add("--operator", action="append", default=[], type=_fingerprint, metavar="FINGERPRINT")
    add("--log", type=_path, metavar="FILE")
    add("--data", type=_path, metavar="DIR")
    limit = _number(1, MAX_LIMIT, "")
    add("--rate", type=limit, default=DEFAULT_RATE)
    add("--burst", type=limit, default=DEFAULT_BURST)
    add(
        "--inbound",
        type=_number(65_536, MAX_LIMIT, " bytes"),
        default=DEFAULT_INBOUND_BYTES_S,
        metavar="BYTES",
    )
    add("--trust-proxy", type=_network, action="append", default=[], metavar="ADDRESS")
    add("--config", type=_path, metavar="FILE")
    first = parser.parse_args(argv)
    sources = _sources(first.config)
    # Set but empty is unset: an empty password must not open the relay to every address.
    given = _merge(
        parser, argv, first, "server", sources, {"password": environ.get("TERMCHAT_PASSWORD")}
    )
    password = _password(parser, first)
    if password is None:
        password = given.password
    hosts = tuple(given.host) or (("localhost",) if password is None else ())
    if "unix:" in hosts:  # Linux would choose an address that nobody knows
        raise UsageError("--host unix: needs a path: unix:PATH. See server.py --help.")
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
        warnings=_warnings(sources),
        operators=tuple(given.operator),
        log=given.log,
        proxies=tuple(given.trust_proxy),
    )


def load_client(argv: Sequence[str], environ: Mapping[str, str]) -> ClientConfig:
    """Read the command line of a member.

    Raises:
        UsageError: if it is wrong.
    """
    parser = _Parser("client.py")
    add = parser.add_argument
    add("--version", action="version", version=VERSION)
    add("--completion", default="", metavar="SHELL", choices=("bash", "zsh", "fish"))
    add("key", nargs="?", metavar="KEY[@HOST[:PORT]]")
    add("--username", metavar="NAME")
    add("--key-file", metavar="FILE")
    add("--password", metavar="X")
    add("--password-file", metavar="FILE")
    add("--url", default="")
    add("--cafile", type=_path, metavar="FILE")
    add("--check", action="store_true")
    add("--room", default="", metavar="NAME")
    add("--home", type=_path, metavar="DIR")
    add("--passphrase", action="store_true")
    add("--passphrase-file", metavar="FILE")
    add("--ephemeral", action="store_true")
    add("--plain", action="store_true")
    add("--no-color", action="store_false", dest="colour")
    add("--log", type=_path, metavar="FILE")
    add("--send", action="store_true", dest="sends")
    add("--block", action="store_true", dest="is_block")
    add("--strict", action="store_true", dest="is_strict")
    add("--timeout", type=_number(1, MAX_TIMEOUT_S, " seconds"), metavar="SECONDS")
    tail = _whole(0, 999_999_999)
    add("--tail", type=tail, metavar="[N]")
    add("--json", action="store_true")
    add("--notify-command", default="", metavar="CMD")
    add("--config", type=_path, metavar="FILE")
    either = parser.add_mutually_exclusive_group().add_argument
    either("--listen", action="store_true")
    either("--connect", default="", metavar="HOST:PORT")
    either("--genkey", action="store_const", const="genkey", dest="task")
    either("--init", action="store_const", const="init", dest="task")
    argv = _with_tail(argv)
    given = parser.parse_args(argv)
    _check_pipes(parser, given)
    if given.completion or given.task:
        task = given.task or "completion"
        name = given.username or ""
        return ClientConfig("", name, task=task, file=given.config, completion=given.completion)
    passphrase = None
    if given.passphrase_file is not None:
        passphrase = files.read_secret(given.passphrase_file, "Passphrase")
    if given.ephemeral and (given.passphrase or passphrase is not None):
        raise UsageError("--ephemeral keeps no identity that a passphrase could encrypt.")
    home: str | None = given.home
    if home is None and environ.get("TERMCHAT_HOME"):
        home = environ["TERMCHAT_HOME"]
    sources = _sources(given.config, home or _default_home(environ))
    variables = {name: environ.get(f"TERMCHAT_{name.upper()}") for name in ("key", "password")}
    merged = _merge(parser, argv, given, "client", sources, variables)
    peer, username = None, merged.username
    told = _key(parser, given)
    key = told or parser.get_default("key") or ""
    url: str = merged.url
    if not given.url and "@" in (told or variables["key"] or ""):
        url = ""  # a file does not send elsewhere who was told where to go
    password = _password(parser, given)
    mode = "listen" if given.listen else "connect" if given.connect else ""
    if mode and given.key:
        raise UsageError(f"--{mode} is for a chat without a server, which has no KEY.")
    # Of two files the nearer one that says which kind of chat it is decides.
    kinds = (("parameters" in s.sections, "key" in s.sections.get("client", {})) for s in sources)
    is_peer, has_key = next((kind for kind in kinds if any(kind)), (False, False))
    is_told = bool(told or variables["key"])
    if mode or (is_peer and not has_key and not is_told):
        key = ""
        peer, username = _peer(sources, mode, given.connect, given.username)
    if username is None:
        username = f"user_{int.from_bytes(os.urandom(4)) % 10_000:04}"
    names.check_username(username)
    commands = (source.command for source in sources if source.command)
    return ClientConfig(
        ticket=key,
        username=username,
        password=merged.password if password is None else password,
        url=url,
        room=names.room_from_user(merged.room) if merged.room else "",
        home=home,
        ephemeral=merged.ephemeral,
        plain=merged.plain,
        colour=merged.colour and not environ.get("NO_COLOR"),
        log=merged.log,
        file=given.config,
        peer=peer,
        options=tuple(_options(sources)),
        notify_command=given.notify_command or next(commands, ""),
        warnings=_warnings(sources),
        passphrase=passphrase,
        asks_passphrase=given.passphrase,
        sends=given.sends,
        is_block=given.is_block,
        is_strict=given.is_strict,
        timeout_s=given.timeout or DEFAULT_TIMEOUT_S,
        tail=given.tail,
        json=given.json,
        ca_file=given.cafile,
        check=given.check,
    )


def sample(ip: str, username: str, fernet_key: str) -> str:
    """Return the file that `--init` writes."""
    return f"""\
# For a chat of two, or a few, without a server: python client.py
# Copy this file to the other machine by a way that nobody else can read, and change ip and
# username there.

[parameters]
# The address of this machine that the others reach, and the port to wait at.
ip = {ip}
port = {PEER_PORT}
# Who holds this key can join and read. A fresh one: python client.py --genkey
fernet_key = {fernet_key}
username = {username}

# Defaults of client.py where you have a KEY; flags and the environment come first.
# [client]
# key = what a server printed
# username = {username}
# room = lobby
# notify_words = lunch deploy

# Defaults of server.py.
# [server]
# port = {DEFAULT_PORT}
# password = what guests need beside KEY
"""


def identity_path(settings: ClientConfig, environ: Mapping[str, str]) -> str:
    """Return where the identity is kept.

    Raises:
        FileError: if there is no such place.
    """
    return os.path.join(settings.home or default_home(environ), "identity")


def _key(parser: argparse.ArgumentParser, given: argparse.Namespace) -> str | None:
    key: str | None = given.key
    if key and given.key_file:
        parser.error("KEY and --key-file are two ways to say one thing")
    path = "-" if key == "-" else given.key_file
    return files.read_secret(path, "KEY") if path else key


def _password(parser: argparse.ArgumentParser, given: argparse.Namespace) -> str | None:
    password: str | None = given.password
    if password is not None and given.password_file:
        parser.error("--password and --password-file are two ways to say one thing")
    if given.password_file:
        return files.read_secret(given.password_file, "Password")
    return password


def _with_tail(argv: Sequence[str]) -> list[str]:
    """Give `--tail` its number if it has none, or it would take KEY for one."""
    after = [*argv[1:], ""]
    pairs = zip(argv, after, strict=False)
    return [f"{a}=0" if a == "--tail" and not b.isdecimal() else a for a, b in pairs]


def _check_pipes(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    """Check that the flags of pipes go together.

    Raises:
        UsageError: if they do not.
    """
    if not given.sends and (given.is_block or given.is_strict or given.timeout):
        parser.error("--block, --strict and --timeout go with --send")
    if given.json and not given.sends and given.tail is None:
        parser.error("--json goes with --send or --tail")
    if given.notify_command and (given.sends or given.tail is not None):
        parser.error("--notify-command calls a person; a program reads --tail")
    if given.json and (given.is_block or given.is_strict):
        parser.error("with --json each row is a message; --block and --strict are about lines")


def default_home(environ: Mapping[str, str]) -> str:
    """Return where identity and pins live when nothing else was said (UX.md 8).

    Raises:
        FileError: if nobody of our number is known, and HOME is not set.
    """
    state = environ.get("XDG_STATE_HOME")
    if not state:
        user = os.path.expanduser("~")
        if user == "~":
            raise FileError("You have no home folder to keep your identity in. See --home.")
        state = os.path.join(user, ".local", "state")
    return os.path.join(state, "termchat")


def _default_home(environ: Mapping[str, str]) -> str | None:
    try:
        return default_home(environ)
    except FileError:
        return None


# --- The file.


class _Source(NamedTuple):
    """A file of settings.

    Attributes:
        sections: what stands in it and is not empty.
        command: a program to run, if this file may name one.
    """

    path: str
    sections: dict[str, dict[str, str]]
    command: str
    warnings: list[str]


def _sources(named: str | None, home: str | None = None) -> list[_Source]:
    """Read the file that was named, or lies here, and the one at home; the first come first.

    Raises:
        UsageError: if one is malformed.
        FileError: if one cannot be used.
    """
    found = [_read(named or FILE, is_named=named is not None, may_run=named is not None)]
    if home is not None:
        found.append(_read(os.path.join(home, FILE), is_named=False, may_run=True))
    return [source for source in found if source is not None]


def _read(path: str, *, is_named: bool, may_run: bool) -> _Source | None:
    file = files.read_shared(path, MAX_FILE_BYTES)
    if file is None and is_named:
        raise FileError(f"There is no {path}. client.py --init writes one.")
    if file is None or not (is_named or re.search(_OURS, file.data)):
        return None  # many programs call a file so
    if file.fault:
        raise FileError(file.fault)
    sections = _parse(path, file.data)
    held = [name for values in sections.values() for name in _SECRETS if values.get(name)]
    if held and file.is_readable:
        raise FileError(f"Others can read {path}, and {held[0]} in it. Run: chmod 600 {path}")
    warnings = []
    for section, values in sections.items():
        if section not in _KEYS:
            warnings.append(f"Nobody reads the section [{section}] of {path}.")
            continue
        unknown = sorted(values.keys() - _KEYS[section])
        warnings += [f"Nobody reads {name} in [{section}] of {path}." for name in unknown]
    command = sections.get("client", {}).get(_RUN, "")
    if command and not may_run:
        warnings.append(f"{_RUN} is not taken from {path}, only from --config or your home folder.")
        command = ""
    if not may_run and sections.get("server", {}).pop(_DATA, ""):
        warnings.append(f"{_DATA} is not taken from {path}, only from --config.")
    return _Source(path, sections, command, warnings)


def _parse(path: str, data: bytes) -> dict[str, dict[str, str]]:
    # Here, since most have no such file.
    import configparser

    parser = configparser.ConfigParser(interpolation=None, default_section="")
    try:
        parser.read_string(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not text in UTF-8.") from None
    except configparser.Error as problem:
        raise UsageError(_malformed(path, problem)) from None
    except AttributeError:
        # Python before 3.13: a value's second row under a name without a value.
        raise UsageError(f"{path} is malformed: each line is [section] or name = value.") from None
    return {
        name: {
            # Both ways of writing flags are one.
            key.replace("-", "_"): value
            for key, value in parser.items(name)
            # Empty is unset: an empty password must not open the relay to every address.
            if value
        }
        for name in parser.sections()
    }


def _malformed(path: str, problem: Exception) -> str:
    line = getattr(problem, "lineno", None)
    if line is None:
        (line, _), *_ = getattr(problem, "errors", None) or [(0, "")]
    if type(problem).__name__.startswith("Duplicate"):
        return f"Line {line} of {path} says again what stood above it."
    return f"Line {line} of {path} is malformed: it is neither [section] nor name = value."


def _merge(
    parser: argparse.ArgumentParser,
    argv: Sequence[str],
    given: argparse.Namespace,
    section: str,
    sources: list[_Source],
    variables: Mapping[str, str | None],
) -> argparse.Namespace:
    """Return the flags, and what the environment or a file says where there is none.

    Raises:
        UsageError: if a flag or a value is wrong.
    """
    defaults: dict[str, object] = {}
    for source in reversed(sources):
        for name, value in source.sections.get(section, {}).items():
            for action in parser._actions:  # noqa: SLF001 - argparse tells them in no other way
                if name == _key_of(action) and name in _KEYS[section]:
                    defaults[action.dest] = _value(action, value, _where(source, section, name))
    defaults |= {name: value for name, value in variables.items() if value}
    if not defaults:
        return given
    # A flag that may be repeated would be added to its default.
    lists = {name for name, value in defaults.items() if isinstance(value, list)}
    beaten = {name for name in lists if getattr(given, name)}
    parser.set_defaults(**{n: value for n, value in defaults.items() if n not in beaten})
    return parser.parse_args(argv)


def _key_of(action: argparse.Action) -> str:
    long = next((name for name in action.option_strings if name.startswith("--")), action.dest)
    return long.removeprefix("--no-").removeprefix("--").replace("-", "_")


def _value(action: argparse.Action, value: str, where: str) -> object:
    """Read a value as the flag would.

    Raises:
        UsageError: if it is wrong.
    """
    if isinstance(action.const, bool):
        if value.lower() not in _WORDS:
            raise UsageError(f"{where} is {value!r}, which is neither yes nor no.")
        return _WORDS[value.lower()]
    if isinstance(action.default, list):
        return value.replace(",", " ").split()
    if not callable(action.type):
        return value
    try:
        return action.type(value)
    except argparse.ArgumentTypeError as problem:
        raise UsageError(f"{where} is wrong: {problem}.") from None


def _where(source: _Source, section: str, name: str) -> str:
    return f"{name} in [{section}] of {source.path}"


def _warnings(sources: list[_Source]) -> tuple[str, ...]:
    return tuple(sentence for source in sources for sentence in source.warnings)


def _options(sources: list[_Source]) -> list[Option]:
    found = {}
    for source in reversed(sources):
        for name in OPTIONS:
            value = source.sections.get("client", {}).get(name)
            if value is not None:
                found[name] = Option(name, value, _where(source, "client", name))
    return list(found.values())


def _peer(
    sources: list[_Source], mode: str, address: str, username: str | None
) -> tuple[PeerConfig, str]:
    """Return what `[parameters]` says, and the username.

    Raises:
        UsageError: if something is missing or wrong; names file, section and value.
    """
    # Here, since most chat through a server.
    import ipaddress

    source = next((source for source in sources if "parameters" in source.sections), None)
    if source is None:
        where = sources[0].path if sources else FILE
        raise UsageError(f"There is no [parameters] in {where}. client.py --init writes it.")
    values = source.sections["parameters"]
    if username is not None:
        values = {**values, "username": username}
    for name in ("ip", "port", "fernet_key", "username"):
        if name not in values:
            raise UsageError(f"There is no {_where(source, 'parameters', name)}.")
    try:
        ipaddress.ip_address(values["ip"])
    except ValueError:
        where = _where(source, "parameters", "ip")
        raise UsageError(f"{where} is {values['ip']!r}, which is no IP address.") from None
    where = _where(source, "parameters", "port")
    try:
        port = _port(values["port"])
    except argparse.ArgumentTypeError as problem:
        raise UsageError(f"{where} is wrong: {problem}.") from None
    if not port:
        raise UsageError(f"{where} is 0, which nobody can connect to.")
    try:
        names.check_username(values["username"])
    except UsageError as problem:
        if username is not None:
            raise
        where = _where(source, "parameters", "username")
        raise UsageError(f"{where} cannot be used: {problem}") from None
    peer = PeerConfig(source.path, values["ip"], port, values["fernet_key"], mode, address)
    return peer, values["username"]


# --- Values.


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
