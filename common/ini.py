"""`config.ini`: where it lies, whether it is trusted, what it says, and what nobody reads of it."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from common import files
from common.errors import FileError, UsageError

FILE = "config.ini"
MAX_FILE_BYTES = 64 * 1024
_SECRETS = ("fernet_key", "key", "password")
_FOR_THE_SHELL = ("notify_command",)
"""Quotes and comments in it are not ours to read."""
_QUOTES = {'"': '"', "'": "'", "\u201c": "\u201d", "\u201e": "\u201c", "\u2018": "\u2019"}
_COMMENT = re.compile(r"(?:^|\s)[#;]")

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


def find(known: Known, named: str | None) -> list[Source]:
    """Read the file that was named, or lies here, if it is ours.

    Raises:
        UsageError: if it is malformed.
        FileError: if it cannot be used.
    """
    is_named = named is not None
    return _read(known, named or FILE, is_named=is_named, is_ours=is_named)


def at_home(known: Known, home: str | None) -> list[Source]:
    """Read the file at home, if there is one.

    Raises:
        UsageError: if it is malformed.
        FileError: if it cannot be used.
    """
    path = os.path.join(home, FILE) if home is not None else ""
    return _read(known, path, is_named=False, is_ours=True) if path else []


def _read(known: Known, path: str, *, is_named: bool, is_ours: bool) -> list[Source]:
    file = files.read_shared(path, MAX_FILE_BYTES)
    if file is None and is_named:
        raise FileError(f"There is no {path}. client.py --init writes one.")
    if file is None:
        return []
    words, is_text = _decoded(file.data)
    ours = rf"(?mi)^[ \t]*\[[ \t]*({'|'.join(known)})[ \t]*\]"
    if not (is_named or re.search(ours, words)):
        return []  # many programs call a file so
    if file.fault:
        raise FileError(file.fault)
    if not is_text:
        raise UsageError(f"{path} is text neither in UTF-8 nor in UTF-16.")
    sections = _parse(known, path, words)
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
    return [Source(path, sections, warnings)]


def _decoded(data: bytes) -> tuple[str, bool]:
    """Return what an editor saved, and whether it is text; if not, its sections can be seen still.

    Those of Windows save UTF-16 too, and put a mark at the start; whoever has cut that off left
    every other byte zero.
    """
    encoding = "utf-8-sig"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif b"\0" in data[:2]:
        encoding = "utf-16-be" if data.startswith(b"\0") else "utf-16-le"
    try:
        words = data.decode(encoding)
    except UnicodeDecodeError:
        return data.replace(b"\0", b"").decode("latin-1"), False
    words = words.replace("\r\n", "\n").replace("\r", "\n")
    return words.replace("\0", ""), "\0" not in words


def _section(line: re.Match[str]) -> str:
    """Write a section as we know it, however it was typed."""
    return f"{line[1]}[{line[2].strip().lower()}]"


def _parse(known: Known, path: str, words: str) -> dict[str, dict[str, str]]:
    # Here, since most have no such file.
    import configparser

    parser = configparser.ConfigParser(interpolation=None, default_section="")
    try:
        parser.read_string(re.sub(r"(?m)^([ \t]*)\[([^]\n]*)\]", _section, words))
    except configparser.Error as problem:
        raise UsageError(_malformed(path, problem)) from None
    except AttributeError:
        # Python before 3.13: a value's second row under a name without a value.
        raise UsageError(f"{path} is malformed: each line is [section] or name = value.") from None
    sections: dict[str, dict[str, str]] = {}
    for section in parser.sections():
        values = sections.setdefault(section, {})
        for key, written in parser.items(section):
            name = key.replace("-", "_")  # both ways of writing flags are one
            is_read = name in known.get(section, {}) and name not in _FOR_THE_SHELL
            value = _unquoted(written, f"{name} in [{section}] of {path}") if is_read else written
            # Empty is unset: an empty password must not open the relay to every address.
            if value:
                values[name] = value
    return sections


def _unquoted(value: str, where: str) -> str:
    """Return a value without quotes around it.

    Raises:
        UsageError: if it is not plain what belongs to it: nobody sees what a password became.
    """
    if "\n" in value:
        raise UsageError(f"{where} has a second line. Begin each line of the file without blanks.")
    closing = _QUOTES.get(value[:1])
    if closing is None:
        if _COMMENT.search(value):
            raise UsageError(
                f"{where} seems to end with a comment. Give the comment a line of its own, or put "
                "the value in quotes."
            )
        return value
    if len(value) < 2 or not value.endswith(closing):
        raise UsageError(f"{where} begins with a quote. Put all of it in quotes, or nothing.")
    return value[1:-1]


def _malformed(path: str, problem: Exception) -> str:
    line = getattr(problem, "lineno", None)
    if line is None:
        (line, _), *_ = getattr(problem, "errors", None) or [(0, "")]
    if type(problem).__name__.startswith("Duplicate"):
        return f"Line {line} of {path} says again what stood above it."
    return f"Line {line} of {path} is malformed: it is neither [section] nor name = value."
