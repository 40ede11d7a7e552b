"""`config.ini`: where it lies, whether it is trusted, what it says, and what nobody reads of it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from common import files
from common.errors import FileError, UsageError

FILE = "config.ini"
MAX_FILE_BYTES = 64 * 1024
_SECRETS = ("fernet_key", "key", "password")

Known = Mapping[str, Mapping[str, bool]]
"""What can stand in each section; true is what only a file says that was named, or is at home."""


class Source(NamedTuple):
    """A file of settings.

    Attributes:
        sections: what stands in it, may, and is not empty.
        warnings: sentences about what it says and nobody reads.
    """

    path: str
    sections: dict[str, dict[str, str]]
    warnings: list[str]

    def __repr__(self) -> str:
        """Hide what may be a password."""
        return f"Source({self.path!r})"

    def where(self, section: str, name: str) -> str:
        """Return where a value stands, for the sentence that refuses it."""
        return f"{name} in [{section}] of {self.path}"


def find(known: Known, named: str | None, home: str | None = None) -> list[Source]:
    """Read the file that was named, or lies here, and the one at home; the first come first.

    Raises:
        UsageError: if one is malformed.
        FileError: if one cannot be used.
    """
    is_named = named is not None
    found = [_read(known, named or FILE, is_named=is_named, is_ours=is_named)]
    if home is not None:
        found.append(_read(known, os.path.join(home, FILE), is_named=False, is_ours=True))
    return [source for source in found if source is not None]


def _read(known: Known, path: str, *, is_named: bool, is_ours: bool) -> Source | None:
    file = files.read_shared(path, MAX_FILE_BYTES)
    if file is None and is_named:
        raise FileError(f"There is no {path}. client.py --init writes one.")
    ours = rf"(?m)^(?:\xef\xbb\xbf)?[ \t]*\[({'|'.join(known)})\]".encode()
    if file is None or not (is_named or re.search(ours, file.data)):
        return None  # many programs call a file so
    if file.fault:
        raise FileError(file.fault)
    sections = _parse(path, file.data)
    held = [name for values in sections.values() for name in _SECRETS if values.get(name)]
    if held and file.is_readable:
        raise FileError(f"Others can read {path}, and {held[0]} in it. Run: chmod 600 {path}")
    warnings = []
    for section, values in sections.items():
        if section not in known:
            warnings.append(f"Nobody reads the section [{section}] of {path}.")
            continue
        unknown = sorted(values.keys() - known[section].keys())
        warnings += [f"Nobody reads {name} in [{section}] of {path}." for name in unknown]
    for section, names in known.items():
        for name, is_own in names.items():
            if is_own and not is_ours and sections.get(section, {}).pop(name, ""):
                # A relay has no home folder.
                home = " or your home folder" if section == "client" else ""
                warnings.append(f"{name} is not taken from {path}, only from --config{home}.")
    return Source(path, sections, warnings)


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
