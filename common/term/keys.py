"""Bytes and escape sequences become named editing commands."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import NamedTuple

# A terminal sends a sequence at once; a lone ESC that stays alone this long is the Esc key.
_ESCAPE_S = 0.05
# A hostile clipboard can hold its own end marker and an Enter: none sends so soon after a paste.
_PASTE_TAIL_S = 0.1
# More than a hand types between two reads.
_TYPED_BYTES = 16
# The draft holds no more (UX.md 2). Bounds what an end marker that never comes can cost.
PASTE_LIMIT_BYTES = 65536


class Typed(NamedTuple):
    """Typed characters: none of the C0 controls, but not clean yet."""

    text: str

    def __repr__(self) -> str:
        """Hide it: it may be a password."""
        return "Typed()"


class Key(NamedTuple):
    """A key: `a` with modifiers in the order `ctrl-alt-shift-`, or `enter tab esc up f1` and so on.

    times: how many equal Up or Down came in a run in one read, the wheel of many terminals.
    """

    name: str
    times: int = 1


class Paste(NamedTuple):
    """Pasted text, with its line ends as newlines, but not clean yet.

    is_cut: the paste was longer than PASTE_LIMIT_BYTES, the rest is gone.
    """

    text: str
    is_cut: bool = False

    def __repr__(self) -> str:
        """Hide it: it may be a password."""
        return "Paste()"


class Wheel(NamedTuple):
    """The mouse wheel by one step, up or down."""

    is_up: bool


class Focus(NamedTuple):
    """The terminal window gained or lost the focus."""

    is_gained: bool


KeyEvent = Typed | Key | Paste | Wheel | Focus

_ESC, _ESCAPES = Key("esc"), b"\x1b\x1b\x1b"
_PASTE_BEGINS, _PASTE_ENDS = b"\x1b[200~", b"\x1b[201~"

_TYPED = re.compile(rb"[^\x00-\x1f\x7f]+")
_UNBRACKETED = re.compile(rb"[^\x1b]+")
_CONTROLS = {code: f"ctrl-{chr(code | 0x40).lower()}" for code in range(0x20)} | {
    0x08: "backspace",
    0x09: "tab",
    0x0D: "enter",
    0x7F: "backspace",
}
_LETTERS = {
    "A": "up", "B": "down", "C": "right", "D": "left", "E": "begin", "F": "end", "H": "home",
    "P": "f1", "Q": "f2", "R": "f3", "S": "f4",
}  # fmt: skip
_NUMBERS = {
    1: "home", 2: "insert", 3: "delete", 4: "end", 5: "pgup", 6: "pgdn", 7: "home", 8: "end",
    11: "f1", 12: "f2", 13: "f3", 14: "f4", 15: "f5", 17: "f6", 18: "f7", 19: "f8", 20: "f9",
    21: "f10", 23: "f11", 24: "f12",
}  # fmt: skip
# The keypad's Enter, and rxvt's arrows with Ctrl.
_SS3_ALONE = {"M": "enter", "a": "ctrl-up", "b": "ctrl-down", "c": "ctrl-right", "d": "ctrl-left"}
_MODIFIERS = (("ctrl-", 4), ("alt-", 2), ("shift-", 1))
_WHEEL_UP, _WHEEL_DOWN = 64, 65
_MOUSE_MODIFIERS = 4 | 8 | 16

# The next two are compiled when a sequence comes, not before the first frame: 1 ms.


@cache
def _sequences() -> re.Pattern[bytes]:
    # Each part is bounded, and so is what is kept of a sequence that never ends. A string (DCS,
    # SOS, OSC, PM, APC) answers somebody else's question. ESC twice is Alt with a longer sequence.
    return re.compile(
        rb"""\x1b (?:
          (?P<csi> \x1b? \[ (?: [0-?]{0,64} [\ -/]{0,8} [@-Z\\-~] | \[ [A-E] ) )
        | (?P<ss3> \x1b? O [0-9;]{0,16} [@-~] )
        | (?P<string> [PX\]^_] [^\x00-\x1f\x7f]{0,4096} (?: \x07 | \x1b\\ ) )
        | (?P<alt> [^\x1b\x80-\xffOPX\[\]^_]
                 | [\xc2-\xdf][\x80-\xbf] | [\xe0-\xef][\x80-\xbf]{2} | [\xf0-\xf4][\x80-\xbf]{3} )
        )""",
        re.VERBOSE,
    )


@cache
def _partial_sequences() -> re.Pattern[bytes]:
    return re.compile(
        rb"""\x1b (?:
          [PX\]^_] [^\x00-\x1f\x7f]{0,4096} \x1b?
        | [\xc2-\xdf] | [\xe0-\xef][\x80-\xbf]? | [\xf0-\xf4][\x80-\xbf]{0,2}
        | \x1b? (?: \[ (?: \[ | [0-?]{0,64} [\ -/]{0,8} ) | O [0-9;]{0,16} )?
        )""",
        re.VERBOSE,
    )


class Keys:
    """What the terminal sends, as events; owned by the screen.

    Where the bytes are cut into reads changes no event but three that are about reads: Esc, an
    unbracketed paste, and `Key.times`.

    terminfo: the terminal's own strings, each with the name of its key.
    """

    def __init__(self, terminfo: Mapping[bytes, str] | None = None) -> None:
        own = {string: name for string, name in (terminfo or {}).items() if string[:1] == b"\x1b"}
        own.pop(b"\x1b", None)
        self._own = own
        self._own_prefixes = {string[:end] for string in own for end in range(1, len(string))}
        self._own_bytes = max(map(len, own), default=0)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._partial = b""
        self._deadline: float | None = None
        self._paste: bytearray | None = None
        self._is_cut = False
        self._tail_until = float("-inf")

    def receive(self, data: bytes, now: float) -> list[KeyEvent]:
        """Take what one read returned, and return the events it completes."""
        if now < self._tail_until and len(data) > _TYPED_BYTES:
            self._tail_until = now + _PASTE_TAIL_S
        is_unbracketed = self._paste is None and data.count(b"\r") > 1 and _PASTE_BEGINS not in data
        events = list(self._parse(self._partial + data, now, is_unbracketed=is_unbracketed))
        if is_unbracketed:
            # The rest of it may follow, with a last Enter alone in its read.
            self._tail_until = now + _PASTE_TAIL_S
        self._deadline = now + _ESCAPE_S if self._partial and self._paste is None else None
        return _in_runs(events)

    def deadline(self) -> float | None:
        """Return when a partial escape sequence stops waiting for its end."""
        return self._deadline

    def tick(self, now: float) -> list[KeyEvent]:
        """Give up a partial escape sequence that waited too long: ESC alone is the Esc key."""
        if self._deadline is None or now < self._deadline:
            return []
        self._deadline = None
        return list(self._parse(self._partial, now, is_final=True))

    def _parse(
        self, data: bytes, now: float, *, is_unbracketed: bool = False, is_final: bool = False
    ) -> Iterator[KeyEvent]:
        self._partial = b""
        run = _UNBRACKETED if is_unbracketed else _TYPED
        at = 0
        while at < len(data):
            event: KeyEvent | None = None
            if self._paste is not None:
                event, at = self._collect(self._paste, data, at, now)
            elif typed := run.match(data, at):
                at = typed.end()
                if text := self._decoder.decode(typed.group()):
                    event = self._text(text, now, is_paste=is_unbracketed)
            elif text := self._decoder.decode(b"", final=True):
                # A character whose end never came.
                event = self._text(text, now, is_paste=is_unbracketed)
            elif data.startswith(_ESCAPES, at):
                # What two more stand behind begins no sequence: a flood of them is cheap.
                event = _ESC
                at += 1
            elif data[at] != 0x1B:
                event = self._key(_CONTROLS[data[at]], now)
                at += 1
            elif not is_final and self._is_partial(data, at):
                self._partial = data[at:]
                return
            else:
                event, at = self._sequence(data, at, now)
            if event is not None:
                yield event

    def _text(self, text: str, now: float, *, is_paste: bool) -> KeyEvent:
        # What stands behind an end marker in the clipboard itself is no typing.
        return Paste(text) if is_paste or now < self._tail_until else Typed(text)

    def _key(self, name: str, now: float) -> Key:
        return Key("ctrl-j" if name == "enter" and now < self._tail_until else name)

    def _is_partial(self, data: bytes, at: int) -> bool:
        left = len(data) - at
        if left < self._own_bytes and data[at:] in self._own_prefixes:
            return True
        return _partial_sequences().fullmatch(data, at) is not None

    def _sequence(self, data: bytes, at: int, now: float) -> tuple[KeyEvent | None, int]:
        """Return what the escape sequence at a place means, if anything, and where it ends."""
        for end in range(min(len(data), at + self._own_bytes), at + 1, -1):
            if own := self._own.get(data[at:end]):
                return self._key(own, now), end
        sequence = _sequences().match(data, at)
        if sequence is None:
            return _broken(data, at)
        body = sequence.group()[1:]
        match sequence.lastgroup:
            case "csi" | "ss3":
                return self._control_sequence(body, now), sequence.end()
            case "alt":
                name = _CONTROLS.get(body[0]) or body.decode("utf-8", "replace")
                is_ctrl = name.startswith("ctrl-")
                key = f"ctrl-alt-{name[5:]}" if is_ctrl else f"alt-{name}"
                return Key(key), sequence.end()
            case _:
                return None, sequence.end()

    def _control_sequence(self, body: bytes, now: float) -> KeyEvent | None:
        """Return what a CSI or SS3 sequence means; its ESC is left out, but not that of Alt."""
        is_alt = body.startswith(b"\x1b")
        introducer, parameters, final = body[is_alt:][:1], body[is_alt:][1:-1], chr(body[-1])
        if introducer == b"O" and not parameters and final in _SS3_ALONE:
            return self._key(_SS3_ALONE[final], now)
        if parameters == b"[":
            return Key(f"f{ord(final) - 0x40}")
        if parameters[:1] == b"<":
            return _wheel(parameters[1:], final)
        numbers = _numbers(parameters)
        if numbers is None:
            return None
        match final, numbers:
            case "~", [200]:
                self._paste, self._is_cut = bytearray(), False
                return None
            case "~", [201]:
                self._tail_until = now + _PASTE_TAIL_S
                return None
            case "I" | "O", [] if introducer == b"[":
                return Focus(final == "I")
            case "Z", _:
                return Key("shift-tab")
            case "~", [number, *modifier]:
                name = _NUMBERS.get(number)
            case _, ([] | [1] | [1, _]):
                name, modifier = _LETTERS.get(final), numbers[1:]
            case _, [_] if introducer == b"O":
                # xterm before 2000: SS3 5 A.
                name, modifier = _LETTERS.get(final), numbers
            case _:
                return None
        return _modified(name, modifier, is_alt=is_alt)

    def _collect(
        self, paste: bytearray, data: bytes, at: int, now: float
    ) -> tuple[Paste | None, int]:
        """Take what belongs to the bracketed paste that is under way."""
        end = data.find(_PASTE_ENDS, at)
        is_ended = end >= 0
        if not is_ended:
            sizes = range(len(_PASTE_ENDS) - 1, 0, -1)
            kept = next((size for size in sizes if data.endswith(_PASTE_ENDS[:size], at)), 0)
            end = len(data) - kept
            self._partial = data[end:]
        room = PASTE_LIMIT_BYTES - len(paste)
        self._is_cut |= end - at > room
        paste += data[at : min(end, at + room)]
        if not is_ended:
            return None, len(data)
        self._paste = None
        self._tail_until = now + _PASTE_TAIL_S
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        text = decoder.decode(bytes(paste), final=not self._is_cut)
        return Paste(text, self._is_cut), end + len(_PASTE_ENDS)


def _broken(data: bytes, at: int) -> tuple[Key | None, int]:
    """Return what stands before the place where an escape sequence ceased to be one."""
    start = _partial_sequences().match(data, at)
    assert start is not None
    sequence = start.group()
    if sequence[1:] in (b"", b"\x1b") or sequence[1] >= 0x80:
        return Key("esc"), at + 1
    return None, start.end() - sequence.endswith(b"\x1b")


def _numbers(parameters: bytes) -> list[int] | None:
    """Return the numbers of a CSI sequence, or None if it has anything else."""
    if not parameters:
        return []
    numbers = parameters.split(b";")
    return [int(number) for number in numbers] if all(map(bytes.isdigit, numbers)) else None


def _modified(name: str | None, modifier: list[int], *, is_alt: bool) -> Key | None:
    bits = modifier[0] - 1 if modifier else 0
    if name is None or len(modifier) > 1 or not 0 <= bits <= 7:
        return None
    if is_alt:
        bits |= 2
    return Key("".join(prefix for prefix, bit in _MODIFIERS if bits & bit) + name)


def _wheel(parameters: bytes, final: str) -> Wheel | None:
    """Return the step of an SGR mouse report (?1006); all else the mouse does is ignored."""
    numbers = _numbers(parameters)
    if final != "M" or not numbers:
        return None
    button = numbers[0] & ~_MOUSE_MODIFIERS
    return Wheel(button == _WHEEL_UP) if button in (_WHEEL_UP, _WHEEL_DOWN) else None


def _in_runs(events: list[KeyEvent]) -> list[KeyEvent]:
    """Join equal Up and Down of one read."""
    joined: list[KeyEvent] = []
    for event in events:
        last = joined[-1] if joined else None
        match event, last:
            case Key("up" | "down" as name), Key(before, times) if name == before:
                joined[-1] = Key(name, times + 1)
            case _:
                joined.append(event)
    return joined
