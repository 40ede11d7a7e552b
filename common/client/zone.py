"""The time zone of the machine, which changes on a journey."""

from __future__ import annotations

import os
import time
from collections.abc import MutableMapping
from typing import Final

LOOK_EVERY_S: Final = 1.0
_DEFAULT: Final = "/etc/localtime"
_FOLDER: Final = "/usr/share/zoneinfo"


class Zone:
    """Has the C library read its zone again when that is another file; owned by the loop."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        """Note where the zone is.

        environ: of the process, since the library looks there too.
        """
        self._environ = environ
        self._seen = self._file()
        self._look_at_s = 0.0

    def look(self, now: float) -> None:
        """See, now and then, whether it has changed."""
        if now < self._look_at_s or not hasattr(time, "tzset"):
            return
        self._look_at_s = now + LOOK_EVERY_S
        found = self._file()
        if found != self._seen:
            self._seen = found
            self._read_again()

    def _file(self) -> tuple[int, int, int] | None:
        name = self._environ.get("TZ")
        folder = self._environ.get("TZDIR", _FOLDER)
        path = _DEFAULT if name is None else os.path.join(folder, name.removeprefix(":"))
        try:
            status = os.stat(path)
        except (OSError, ValueError):  # rules that are written out, as CET-1CEST
            return None
        return status.st_dev, status.st_ino, status.st_mtime_ns

    def _read_again(self) -> None:
        """Have it forget the zone first: what is called the same it does not read again."""
        name = self._environ.get("TZ")
        self._environ["TZ"] = "UTC0"
        time.tzset()
        if name is None:
            del self._environ["TZ"]
        else:
            self._environ["TZ"] = name
        time.tzset()
