"""What a relay says when it starts: where it listens, and lines that can be pasted to join it."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from common import names

UNIX: Final = "unix:"
CLIENT: Final = "client.py"
README_PYTHON: Final = (".venv/bin/python", CLIENT)
"""What guests have who followed README."""


class Greeter(NamedTuple):
    """Who asks it knows where somebody can come from.

    Attributes:
        key: KEY as text.
        port: at which we listen.
        ticket_at: returns KEY@HOST for a host that is no unix socket.
        client: the words that start the client.
    """

    key: str
    port: int
    ticket_at: Callable[[str], str]
    client: tuple[str, ...]

    def __repr__(self) -> str:
        """Hide KEY."""
        return "Greeter()"

    def join(self, host: str) -> str:
        """Return the row that says how to join at a host, or at `unix:PATH`."""
        where = ("--url", host) if host.startswith(UNIX) else ()
        return f"Join with: {pasted((*self.client, self.ticket(host), *where))}"

    def ticket(self, host: str) -> str:
        """Return what a client there is started with: KEY, and where to go if it can say so."""
        return self.key if host.startswith(UNIX) else self.ticket_at(host)

    def rows(
        self,
        hosts: Iterable[str],
        *,
        is_every_ipv4: bool = False,
        is_every_ipv6: bool = False,
        has_password: bool,
        is_kept: bool,
    ) -> list[str]:
        """Return the rows of the start.

        Args:
            hosts: at which others reach us, the first one first; at least one.
            is_every_ipv4: whether we listen at every such address of this machine.
            is_every_ipv6: likewise.
            has_password: whether guests need one.
            is_kept: whether KEY outlives us.
        """
        hosts = tuple(hosts)
        kinds = ["IPv4"] * is_every_ipv4 + ["IPv6"] * is_every_ipv6
        paths = [host for host in hosts if host.startswith(UNIX)]
        first = [host for host in hosts if host not in paths] or paths
        rows = [f"Server starts at {', '.join(f'`{self._url(host)}`' for host in first)}."]
        if first != paths and paths:
            rows.append(f"It listens at {', '.join(f'`{path}`' for path in paths)} too.")
        if kinds:
            rows.append(f"It listens at every {' and '.join(kinds)} address of this machine.")
        rows += [
            "[Cryptography Key]",
            "Please copy the following key below, you will need it for connecting to this server:",
            f"Key: {self.key}",
            *map(self.join, hosts),
        ]
        if not is_kept:
            rows.append("This KEY is for this run only. With --data DIR it stays the same.")
        if has_password:
            rows.append("The client will ask for the password.")
        else:
            rows.append("No --password given: whoever has the KEY can join.")
            if hosts == ("localhost",) and not kinds:
                rows.append(
                    "Only this machine can connect: the default password is public. For guests "
                    "start with --password X, or with --password-file -, which asks for one."
                )
        return rows

    def _url(self, host: str) -> str:
        return host if host.startswith(UNIX) else f"ws://{names.bracketed(host)}:{self.port}/"


def client_words(
    python: str, script: str, folder: str, environ: Mapping[str, str]
) -> tuple[str, ...]:
    """Return the words that start the client, as somebody in `folder` would type them.

    Args:
        python: the path of the interpreter that runs us; "" if it is not known.
        script: the path of the client beside us, which need not exist.
        folder: where they are; "" if that is not known.
        environ: PATH in it finds programs by their names; uv says in UV that it runs us.
    """
    if not os.path.exists(script):  # noqa: PTH110 - paths here are text
        return README_PYTHON
    script = _below(script, folder)
    if environ.get("UV"):
        return ("uv", "run", script)
    if not python:
        return ("python3", script)
    shown = _below(python, folder)
    if shown != python:
        # A bare word would be looked for in PATH.
        return (shown if os.sep in shown else os.path.join(os.curdir, shown), script)  # noqa: PTH118
    name = os.path.basename(python)  # noqa: PTH119
    is_found = shutil.which(name, path=environ.get("PATH", "")) == python
    return (name if is_found else python, script)


def folder_here() -> str:
    """Return the folder that we were started in, or "" if it is gone."""
    try:
        return os.getcwd()  # noqa: PTH109
    except OSError:
        return ""


def _below(path: str, folder: str) -> str:
    # Below the root every path is, and would be none the better for it.
    return path.removeprefix(folder + os.sep) if folder.strip(os.sep) else path


def pasted(words: Iterable[str]) -> str:
    """Return a line that a shell of this system takes for these words."""
    if os.name == "posix":
        return shlex.join(words)
    return " ".join(f'"{word}"' if " " in word else word for word in words)
