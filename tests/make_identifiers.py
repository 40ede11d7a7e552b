"""Make common/identifiers.py: what UTS 39 says of the characters of names.

Usage: python tests/make_identifiers.py [PATH]

All of it is read from one library of one version of Unicode, Debian 12's libicu72. Only what was
assigned when Python 3.11 was made goes in: of the rest, Python versions would disagree.
"""

from __future__ import annotations

import ctypes
import sys
import textwrap
import unicodedata
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

VERSION = 72
UNICODE = (15, 0)
OLDEST = (14, 0)
"""The Unicode of Python 3.11."""
FORMS: tuple[Callable[[str], str], ...] = (str, str.casefold, str.upper)
"""How a name is looked at (PROTOCOL.md 3.1)."""
PATH = Path(__file__).parents[1] / "common" / "identifiers.py"

HEAD = '''\
"""What Unicode says of the characters of names. Made by tests/make_identifiers.py; do not edit."""

from __future__ import annotations

UNICODE = "{unicode}"
"""The version of UTS 39 and of the Script_Extensions; what came after {oldest} is left out."""

# Of each set of scripts (Script_Extensions), the characters that are Allowed (UTS 39 3.1), in
# hexadecimal: the first of a run, and how many follow it.
SCRIPTS = """\\
'''
MIDDLE = '''\
"""

# Of each of them that is not its own, the prototype (UTS 39 4), decomposed (NFD).
PROTOTYPES = """\\
'''


class Icu:
    """The functions of ICU that we need."""

    def __init__(self) -> None:
        """Load the library.

        Raises:
            OSError: if there is none of that version.
        """
        self._common = ctypes.CDLL(f"libicuuc.so.{VERSION}")
        self._more = ctypes.CDLL(f"libicui18n.so.{VERSION}")
        error = ctypes.c_int()
        self._set = self._pointer("uspoof_getRecommendedSet", error)
        self._contains = self._of(self._common, "uset_contains", ctypes.c_int8)
        self._checker = self._pointer("uspoof_open", error)
        self._skeleton = self._of(self._more, "uspoof_getSkeletonUTF8", ctypes.c_int32)
        self._extensions = self._of(self._common, "uscript_getScriptExtensions", ctypes.c_int32)
        self._script_name = self._of(self._common, "uscript_getName", ctypes.c_char_p)
        assert error.value <= 0
        version = (ctypes.c_uint8 * 4)()
        self._of(self._common, "u_getUnicodeVersion", None)(version)
        assert tuple(version[:2]) == UNICODE

    def _pointer(self, name: str, error: ctypes.c_int) -> ctypes.c_void_p:
        found = self._of(self._more, name, ctypes.c_void_p)(ctypes.byref(error))
        assert isinstance(found, int)
        return ctypes.c_void_p(found)

    @staticmethod
    def _of(library: ctypes.CDLL, name: str, result: type | None) -> Callable[..., object]:
        function = getattr(library, f"{name}_{VERSION}")
        function.restype = result
        return function  # type: ignore[no-any-return] # ctypes has no types

    def is_allowed(self, code: int) -> bool:
        """Tell whether a character's Identifier_Status is Allowed, but not by Inclusion."""
        return bool(self._contains(self._set, ctypes.c_int32(code)))

    def age(self, code: int) -> tuple[int, int]:
        """Return the version that assigned a character."""
        age = (ctypes.c_uint8 * 4)()
        self._of(self._common, "u_charAge", None)(ctypes.c_int32(code), age)
        return age[0], age[1]

    def scripts(self, code: int) -> list[str]:
        """Return the Script_Extensions of a character, by their long names."""
        found, error = (ctypes.c_int * 64)(), ctypes.c_int()
        count = self._extensions(ctypes.c_int32(code), found, 64, ctypes.byref(error))
        assert isinstance(count, int)
        assert error.value <= 0
        named = (self._script_name(script) for script in found[:count])
        return sorted(name.decode() for name in named if isinstance(name, bytes))

    def skeleton(self, text: str) -> str:
        """Return the skeleton of a text."""
        found, error = ctypes.create_string_buffer(1024), ctypes.c_int()
        size = self._skeleton(
            self._checker, 0, text.encode(), -1, found, len(found), ctypes.byref(error)
        )
        assert isinstance(size, int)
        assert error.value <= 0
        return found.raw[:size].decode()


def make(icu: Icu) -> str:
    """Return the text of the module."""
    allowed = [code for code in range(0x110000) if icu.is_allowed(code) and icu.age(code) <= OLDEST]
    scripts = {code: icu.scripts(code) for code in allowed}
    # A script of which nothing is allowed cannot be what a character shares with another.
    used = {only for only, *others in scripts.values() if not others}
    runs: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for code in allowed:
        group = runs[" ".join(name for name in scripts[code] if name in used)]
        if group and sum(group[-1]) + 1 == code:
            group[-1] = (group[-1][0], group[-1][1] + 1)
        else:
            group.append((code, 0))
    texts = {unicodedata.normalize("NFD", form(chr(code))) for code in allowed for form in FORMS}
    chars = sorted({char for text in texts for char in text})
    prototypes = [(char, to) for char in chars if (to := icu.skeleton(char)) != char]
    head = HEAD.format(unicode="{}.{}".format(*UNICODE), oldest="{}.{}".format(*OLDEST))
    sets = [f"{names}: {' '.join(map(_run, group))}" for names, group in sorted(runs.items())]
    pairs = [f"{ord(char):x}={'+'.join(f'{ord(c):x}' for c in to)}" for char, to in prototypes]
    return f'{head}{_lines(sets)}{MIDDLE}{_lines([" ".join(pairs)])}"""\n'


def _run(run: tuple[int, int]) -> str:
    first, more = run
    return f"{first:x}+{more:x}" if more else f"{first:x}"


def _lines(rows: list[str]) -> str:
    wrapped = (textwrap.wrap(row, 98, subsequent_indent=" ") for row in rows)
    return "".join(f"{line}\n" for lines in wrapped for line in lines)


if __name__ == "__main__":
    (Path(sys.argv[1]) if len(sys.argv) > 1 else PATH).write_text(make(Icu()))
