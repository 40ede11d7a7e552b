"""A chat without a server: whoever listens runs the relay too (PROTOCOL.md 2, peer to peer)."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from common import config, files, ini, names
from common.client.dial import ROOT, at_ms, packages
from common.client.questions import ask
from common.errors import EXIT_FAILED, FileError, UsageError
from common.view.output import print_row, say
from common.view.view import View

if TYPE_CHECKING:  # what needs packages is imported once it is known that they are here
    from common.member.member import Member
    from common.member.peering import Doorkeeper

NOBODY: Final = "Nobody answers here: give --listen, or --connect HOST:PORT."


class Chat:
    """A chat without a server, as the client runs it."""

    def __init__(
        self,
        settings: config.ClientConfig,
        peer: config.PeerConfig,
        psk: bytes,
        doorkeeper: Doorkeeper | None,
    ) -> None:
        """Prepare; who listens has a doorkeeper.

        Args:
            psk: 32 bytes.
        """
        self.settings = settings
        self.has_crashed = False
        self._peer = peer
        self._psk = psk
        self._doorkeeper = doorkeeper

    def make_member(self, view: View) -> Member:
        """Return who talks in it.

        Raises:
            FileError: if a file cannot be used.
        """
        from common.member.member import Member
        from common.member.peering import Peering

        policy = Peering(view, at_ms, self._peer, self._doorkeeper)
        today = time.strftime("%Y-%m-%d")
        clock, psk = time.monotonic, self._psk
        member = Member(self.settings, os.environ, view, clock, at_ms, today, lambda: psk, policy)
        if self._doorkeeper is not None:
            self._doorkeeper.uplink = member.uplink
        return member

    def crashed(self) -> None:
        """End the client: its relay is dead."""
        self.has_crashed = True
        signal.raise_signal(signal.SIGTERM)

    def exit_code(self, code: int) -> int:
        """Return how the client ends, if it would end so by itself."""
        if not self.has_crashed:
            return code
        say("The relay in this program broke, so nobody could be reached any more.")
        return EXIT_FAILED


@contextlib.contextmanager
def peering(settings: config.ClientConfig, peer: config.PeerConfig) -> Iterator[Chat]:
    """Ask what is not known, and run the relay of whoever listens as long as the chat lasts.

    Raises:
        UsageError: if a setting is wrong, or a package is missing.
        FileError: if a file cannot be used, or nobody can listen there.
    """
    with packages():
        # Here, as all that the first frame does not need.
        from common.crypto import ticket
        from common.crypto.identity import RelayKey
        from common.member.peering import Doorkeeper
    try:
        keys = ticket.peer_keys(ticket.parse_fernet_key(peer.fernet_key))
    except UsageError:
        where = f"fernet_key in [parameters] of {peer.file}"
        raise UsageError(f"{where} is not 32 bytes in base64. Copy it again.") from None
    print_row(f"Your IP and port are: {names.bracketed(peer.ip)}:{peer.port}")
    peer, host, port = _answers(peer)
    listener = _listener(peer) if peer.mode == "listen" else None
    key = RelayKey.from_private(keys.static_private)
    invitation = ticket.encode(ticket.Ticket(key.public, keys.secret, host, port))
    # A password that is given, though empty, is never asked for.
    settings = settings._replace(ticket=invitation, password="", url="", room="")
    if listener is None:
        yield Chat(settings, peer, keys.psk, None)
        return
    # Here, because who connects needs no server.py.
    import server

    doorkeeper = Doorkeeper()
    chat = Chat(settings, peer, keys.psk, doorkeeper)
    relay = server.Server(
        config.ServerConfig(rooms=0, rate=config.PEER_RATE),
        key,
        keys.psk,
        [listener],
        lambda _: None,
        chat.crashed,
        also_judge=doorkeeper.judge,
        on_join=doorkeeper.joined,
    )
    relay.start()
    try:
        yield chat
    finally:
        relay.stop()


def _answers(peer: config.PeerConfig) -> tuple[config.PeerConfig, str, int]:
    """Return who listens, and where: as flags say, or else as is answered.

    Raises:
        UsageError: if nobody answers, or the flag is wrong.
    """
    from common.crypto import ticket

    def mode(answer: str) -> str:
        if answer.lower() not in ("connect", "listen"):
            raise UsageError("The answer is connect or listen.")
        return answer.lower()

    def address(answer: str) -> str:
        host, port = ticket.parse_address(answer)
        if port is not None:
            raise UsageError("The port is asked for next.")
        return host

    peer = peer._replace(mode=peer.mode or ask("Enter mode (connect or listen): ", mode, NOBODY))
    if peer.mode == "listen":
        anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
        return peer, anywhere.get(peer.ip, peer.ip), peer.port
    if not peer.address:
        host = ask("Enter peer IP: ", address, NOBODY)
        return peer, host, ask("Enter peer port: ", ticket.parse_port, NOBODY)
    host, port = ticket.parse_address(peer.address)
    if port is None:
        raise UsageError("--connect needs the port too, as HOST:PORT.")
    return peer, host, port


def _listener(peer: config.PeerConfig) -> socket.socket:
    """Return the socket that peers connect to.

    Raises:
        UsageError: if server.py is not beside us.
        FileError: if nobody can listen there; names what to change.
    """
    if not (ROOT / "server.py").is_file():
        raise UsageError("Who listens needs server.py beside client.py. Copy it there.")
    import server

    where = f"[parameters] of {peer.file}"
    try:
        return server.bind(
            socket.AF_INET6 if ":" in peer.ip else socket.AF_INET, (peer.ip, peer.port)
        )
    except OSError as problem:
        match problem.errno:
            case errno.EADDRINUSE:
                why = f"Port {peer.port} is in use. Stop what uses it, or change port in {where}."
            case errno.EADDRNOTAVAIL:
                why = f"{peer.ip} is no address of this machine. Change ip in {where}."
            case errno.EACCES | errno.EPERM:
                why = f"Port {peer.port} needs more rights than we have. Change port in {where}."
            case _:
                told = problem.strerror or str(problem)
                at = f"{names.bracketed(peer.ip)}:{peer.port}"
                why = f"Cannot listen at {at}: {told}. Change ip or port in {where}."
        raise FileError(why) from None


def genkey() -> str:
    """Return a new key for two, as Fernet prints its own."""
    import base64

    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def init(settings: config.ClientConfig) -> None:
    """Write a config.ini for this machine.

    Raises:
        UsageError: if the name that was given cannot be used.
        FileError: if it is there, or cannot be written.
    """
    path = settings.file or ini.FILE
    username = settings.username
    if username:
        username = names.username_from_user(username)
    else:
        username = socket.gethostname().partition(".")[0]
        try:
            names.check_username(username)
        except UsageError:
            username = "desktop"
    # Connecting a datagram socket sends nothing: it asks the routing table which address we would
    # use towards one that is reserved for documentation (RFC 5737).
    ip = "127.0.0.1"
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        ip = str(probe.getsockname()[0])
    files.create_own(path, sample(ip, username, genkey()).encode())
    print_row(f"{path} is written. Copy it to the other machine, and change ip and username there.")


def sample(ip: str, username: str, fernet_key: str) -> str:
    """Return the file that `--init` writes."""
    return f"""\
# For a chat of two, or a few, without a server: python client.py
# Copy this file to the other machine by a way that nobody else can read, and change ip and
# username there.

[parameters]
# The address of this machine that the others reach, and the port to wait at.
ip = {ip}
port = {config.PEER_PORT}
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
# port = {config.DEFAULT_PORT}
# password = what guests need beside KEY
"""
