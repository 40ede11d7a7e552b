"""What this machine keeps of relays (PROTOCOL.md 8): the last name there, and KEY if so told."""

from __future__ import annotations

import json
from typing import Final, NamedTuple

from common import files, names
from common.errors import FileError, UsageError

MOST_RELAYS: Final = 64
"""The one that was used longest ago goes first."""


class Kept(NamedTuple):
    """What is kept of a relay.

    Attributes:
        username: the one last used there.
        room: wire name of the last.
        key: KEY[@HOST[:PORT]]; "" if it is not kept.
        url: another address than the one in `key`, or "".
        was_asked: whether somebody has said if KEY is to be kept.
    """

    username: str
    room: str = ""
    key: str = ""
    url: str = ""
    was_asked: bool = False

    def __repr__(self) -> str:
        """Hide KEY."""
        return "Kept()"


class Relays:
    """The file `relays` of a home folder, which clients of one user share."""

    def __init__(self, path: str) -> None:
        self.path = path

    def all(self) -> dict[str, Kept]:
        """Return what is kept, by server_id, the one used last first.

        Raises:
            FileError: if the file cannot be used, or is damaged.
        """
        data = files.read_private(self.path)
        if data is None:
            return {}
        try:
            return dict(map(_decode, json.loads(data)["relays"]))
        except (ValueError, TypeError, KeyError, UsageError, RecursionError):
            raise FileError(f"{self.path} is damaged. Mend or remove it.") from None

    def note(self, server_id: str, kept: Kept) -> None:
        """Keep this of a relay, which is in use now.

        Raises:
            FileError: if it cannot be written.
        """
        if next(iter(self.all().items()), None) == (server_id, kept):
            return
        with files.locked(self.path):
            found = self.all()
            found.pop(server_id, None)
            self._write({server_id: kept, **found})

    def forget(self, server_id: str) -> Kept | None:
        """Keep nothing of a relay, and return what was.

        Raises:
            FileError: if it cannot be written.
        """
        if server_id not in self.all():
            return None
        with files.locked(self.path):
            found = self.all()
            was = found.pop(server_id, None)
            self._write(found)
        return was

    def _write(self, found: dict[str, Kept]) -> None:
        rows = [
            {"server_id": server_id, **kept._asdict()}
            for server_id, kept in list(found.items())[:MOST_RELAYS]
        ]
        data = json.dumps({"relays": rows}, ensure_ascii=False, indent=1)
        files.replace_private(self.path, data.encode())


def _decode(row: dict[str, object]) -> tuple[str, Kept]:
    """Read what is kept of one relay.

    Raises:
        KeyError: if something is missing; or ValueError, or UsageError, if it is wrong.
    """
    fields = [row[name] for name in ("server_id", "username", "room", "key", "url")]
    server_id, username, room, key, url = (each for each in fields if isinstance(each, str))
    if not isinstance(row["was_asked"], bool):
        raise ValueError("neither true nor false")
    room = names.room_from_user(room) if room else ""
    return server_id, Kept(names.username_from_user(username), room, key, url, row["was_asked"])


class Keeper:
    """What is kept of the one relay that a member talks by; what was forgotten is kept no more."""

    def __init__(self, relays: Relays | None, server_id: str) -> None:
        """Keep nothing without a file."""
        self._relays = relays
        self._server_id = server_id

    def joined(self, kept: Kept, *, keeps_key: bool | None) -> None:
        """Note a name that the relay took; `keeps_key` is None if nobody was asked in this run.

        Raises:
            FileError: if it cannot be written.
        """
        if self._relays is None:
            return
        was = self._relays.all().get(self._server_id)
        if keeps_key is None and was is not None:
            keeps_key = bool(was.key) if was.was_asked else None
        if not keeps_key:
            kept = kept._replace(key="", url="")
        self._relays.note(self._server_id, kept._replace(was_asked=keeps_key is not None))

    def forget(self) -> Kept | None:
        """Keep nothing of it from now on, and return what was.

        Raises:
            FileError: if it cannot be written.
        """
        was = self._relays.forget(self._server_id) if self._relays is not None else None
        self._relays = None
        return was
