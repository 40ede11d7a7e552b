"""Bytes and escape sequences become named editing commands."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache
from typing import NamedTuple

# A terminal sends a sequence at once; a lone ESC that stays alone this long is the Esc key.
_ESCAPE_S = 0.05
# A hostile clipboard can hold its own end mark, and behind it keys: none acts so soon after one.
_TAIL_S = 0.1
# What a terminal or a link may pause between such a mark and the true one.
_STALL_S = 1.0
# More than a hand types at once, and more a second than a key that is held down.
_TYPED_BYTES = 16
_REPEATED_BPS = 100
# Equal arrows that are less apart are a wheel, sent so by many terminals: no key repeats so fast.
_NOTCH_S = 0.01
_NOTCH_ROWS = 3
# The draft holds no more (UX.md 2). Bounds what an end marker that never comes can cost.
PASTE_LIMIT_BYTES = 65536


class Typed(NamedTuple):
    """Typed characters: none of the C0 controls, but not clean yet."""

    text: str

    def __repr__(self) -> str:
        """Hide it: it may be a password."""
        return "Typed()"


class Key(NamedTuple):
    """A key: `a` with modifiers in the order `ctrl-alt-shift-`, or `enter tab esc up f1` and on."""

    name: str


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
    """The mouse wheel by so many rows, up if positive."""

    rows: int


class Focus(NamedTuple):
    """The terminal window gained or lost the focus."""

    is_gained: bool


KeyEvent = Typed | Key | Paste | Wheel | Focus

_ESC, _ESCAPES = Key("esc"), b"\x1b\x1b\x1b"
_ENTER, _NEWLINE = Key("enter"), Key("alt-enter")
_ARROWS = {"up": 1, "down": -1}
_PASTE_BEGINS, _PASTE_ENDS = b"\x1b[200~", b"\x1b[201~"
_CTRL_C = (b"\x03", b"\x1b[99;5u", b"\x1b[27;5;99~")

_TYPED = re.compile(rb"[^\x00-\x1f\x7f]+")
_PASTED = re.compile(rb"[^\x1b]+")
_FOCUS = re.compile(rb"(?:\x1b\[[IO])*(?:\x1b\[?)?")
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
# What the keypad types in the mode that another program left on: as SS3, and as kitty reports it.
_SS3_TYPED = dict(zip("jklmnopqrstuvwxyX", "*+,-./0123456789=", strict=True))
_KEYPAD_TYPED = dict(enumerate("0123456789./*-+\r=,", 57399))
_KEYPAD = dict(
    enumerate(
        ("left", "right", "up", "down", "pgup", "pgdn", "home", "end", "insert", "delete", "begin"),
        57417,
    )
)
# What Ctrl makes of what is no letter, as in every terminal.
_WITH_CTRL = {
    char: code
    for code, chars in {
        0x00: " @2", 0x1B: "[3", 0x1C: "\\4", 0x1D: "]5", 0x1E: "^~6", 0x1F: "_-/7", 0x7F: "?8",
    }.items()
    for char in chars
}  # fmt: skip
_MODIFIERS = (("ctrl-", 4), ("alt-", 2), ("shift-", 1))
_SHIFT, _ALT, _CTRL = 1, 2, 4
# Meta is 8 in xterm and 32 in kitty, whose 8 is Super; neither has another use on an arrow.
_META, _LOCKS = 8 | 32, 64 | 128
_RELEASED = 3
_MOUSE_MODIFIERS = 4 | 8 | 16

# The next three are compiled when a sequence comes, not before the first frame: 1 ms.


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


@cache
def _leaving() -> re.Pattern[bytes]:
    # Ctrl-C, Ctrl-D, Ctrl-Z or Ctrl-\, with more behind it than a hand types before it is gone.
    return re.compile(
        rb"""(?: [\x03\x04\x1a\x1c]
        | \x1b\[ (?: (?:99|100|122|92) [\d;:]* u | 27;\d+; (?:99|100|122|92) ~ )
        ) [\x00-\xff]{%d}"""
        % (_TYPED_BYTES + 1),
        re.VERBOSE,
    )


class Keys:
    """What the terminal sends, as events; owned by the view.

    Where the bytes are cut into reads changes no event but two that are about reads: Esc, and an
    unbracketed paste.

    The *tail* of a paste is what comes soon after an end mark. There everything is text, and no key
    acts: the mark may be the clipboard's own, and whoever wrote that would have us leave, for then
    the shell runs the rest. An Enter behind a single row acts once nothing followed it. A paste
    whose end mark never comes is ended by Ctrl-C, alone and a while behind the rest.

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
        self._read_at = 0.0
        self._tail_until = float("-inf")
        self._tail_at = 0  # where in the bytes at hand it began
        self._tail_bytes = 0.0  # of late
        self._pause_s = _TAIL_S
        self._may_send = False
        self._held: Key | None = None
        self._held_until = 0.0
        self._wheel_until = float("-inf")

    def receive(self, data: bytes, now: float) -> list[KeyEvent]:
        """Take what one read returned, and return the events it completes."""
        if self._paste is not None and data in _CTRL_C and now - self._read_at > _STALL_S:
            data = _PASTE_ENDS
        pause_s, self._read_at = now - self._read_at, now
        data = self._partial + data
        if self._paste is None and _is_unbracketed(data):
            if now >= self._tail_until:
                self._pause_s, self._may_send = _TAIL_S, False
            # The rest of it may follow, with a last Enter alone in its read.
            self._tail_until = max(self._tail_until, now + _TAIL_S)
        self._tail_at = 0 if now < self._tail_until else len(data)
        held, self._held = self._held, None
        events = list(self._parse(data, now))
        if behind := len(data) - self._tail_at:
            left = max(0.0, self._tail_bytes - pause_s * _REPEATED_BPS)
            self._tail_bytes = min(left + behind, 2 * _TYPED_BYTES)
            if self._tail_bytes > _TYPED_BYTES:
                self._tail_until = now + self._pause_s
        self._deadline = now + _ESCAPE_S if self._partial and self._paste is None else None
        return self._turned([*self._followed(held, data, events), *events], now)

    def deadline(self) -> float | None:
        """Return when what waits for more stops waiting: part of a sequence, or a key."""
        times = [self._deadline, self._held_until if self._held else None]
        return min((at for at in times if at is not None), default=None)

    def tick(self, now: float) -> list[KeyEvent]:
        """Give up waiting: nothing followed a key, or an ESC alone, which is the Esc key."""
        is_given_up = self._deadline is not None and now >= self._deadline
        events: list[KeyEvent] = []
        if self._held is not None and (is_given_up or now >= self._held_until):
            is_text = self._held == _ENTER and self._partial
            events.append(Paste("\r") if is_text else self._held)
            self._held = None
        if is_given_up:
            self._deadline = None
            events += self._parse(self._partial, now, is_final=True)
        return events

    def _followed(self, held: Key | None, data: bytes, events: list[KeyEvent]) -> list[KeyEvent]:
        """Return what a key that was held is, now that something else was read."""
        if held is None:
            return []
        if _FOCUS.fullmatch(data) if held == _ENTER else not events:
            self._held = held
            return []
        return [Paste("\r") if held == _ENTER else held]

    def _parse(self, data: bytes, now: float, *, is_final: bool = False) -> Iterator[KeyEvent]:
        self._partial = b""
        at = 0
        while at < len(data):
            is_tail = now < self._tail_until
            event: KeyEvent | None = None
            if self._paste is not None:
                event, at = self._collect(self._paste, data, at, now)
            elif typed := (_PASTED if is_tail else _TYPED).match(data, at):
                at = typed.end()
                if text := self._decoder.decode(typed.group()):
                    event = self._pasted(text, data, at, now) if is_tail else Typed(text)
            elif text := self._decoder.decode(b"", final=True):
                # A character whose end never came.
                event = Paste(text) if is_tail else Typed(text)
            elif data.startswith(_ESCAPES, at):
                # What two more stand behind begins no sequence: a flood of them is cheap.
                event = self._disarmed(_ESC, data, at, now) if is_tail else _ESC
                at += 1
            elif data[at] != 0x1B:
                event = Key(_CONTROLS[data[at]])
                at += 1
            elif not is_final and self._is_partial(data, at):
                self._partial = data[at:]
                return
            else:
                event, at = self._sequence(data, at, now)
                if is_tail:
                    event = self._disarmed(event, data, at, now)
            if event is not None:
                yield event

    def _pasted(self, text: str, data: bytes, at: int, now: float) -> Paste | None:
        """Take text in the tail of a paste; an Enter that nothing follows is held."""
        may_send, self._may_send = self._may_send, False
        if may_send and text == "\r" and _FOCUS.fullmatch(data, at):
            self._held, self._held_until = _ENTER, now + _TAIL_S
            return None
        return Paste(text)

    def _disarmed(
        self, event: KeyEvent | None, data: bytes, at: int, now: float
    ) -> KeyEvent | None:
        """Return what is left of a sequence in the tail of a paste."""
        match event:
            case Focus() | None:
                return event
            case Key("enter" | "alt-enter"):
                return self._pasted("\r" if event == _ENTER else "\n", data, at, now)
            case _:
                self._may_send = False
                return None

    def _end_paste(self, at: int, now: float, *, may_send: bool) -> None:
        self._tail_until, self._pause_s = now + _TAIL_S, _STALL_S
        self._tail_at, self._tail_bytes, self._may_send = at, 0.0, may_send

    def _is_partial(self, data: bytes, at: int) -> bool:
        left = len(data) - at
        if left < self._own_bytes and data[at:] in self._own_prefixes:
            return True
        return _partial_sequences().fullmatch(data, at) is not None

    def _sequence(self, data: bytes, at: int, now: float) -> tuple[KeyEvent | None, int]:
        """Return what the escape sequence at a place means, if anything, and where it ends."""
        for end in range(min(len(data), at + self._own_bytes), at + 1, -1):
            if own := self._own.get(data[at:end]):
                return Key(own), end
        sequence = _sequences().match(data, at)
        if sequence is None:
            return _broken(data, at)
        body, end = sequence.group()[1:], sequence.end()
        match sequence.lastgroup:
            case "csi" if body.endswith(b"[200~"):
                self._paste, self._is_cut = bytearray(), False
                return None, end
            case "csi" if body.endswith(b"[201~"):
                self._end_paste(end, now, may_send=False)
                return None, end
            case "csi" | "ss3":
                return _control_sequence(body), end
            case "alt":
                name = _CONTROLS.get(body[0]) or body.decode("utf-8", "replace")
                return _with_alt(name), end
            case _:
                return None, end

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
        is_row = not self._is_cut and not any(line_end in paste for line_end in b"\r\n")
        self._end_paste(end + len(_PASTE_ENDS), now, may_send=is_row)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        text = decoder.decode(bytes(paste), final=not self._is_cut)
        return Paste(text, self._is_cut), end + len(_PASTE_ENDS)

    def _turned(self, events: list[KeyEvent], now: float) -> list[KeyEvent]:
        """Make a wheel of arrows that no hand sends, and hold one that may be the first of such."""
        turned: list[KeyEvent] = []
        for event in events:
            last = turned[-1] if turned else None
            rows = _ARROWS.get(event.name) if isinstance(event, Key) else None
            if rows is None:
                turned.append(event)
            elif isinstance(last, Wheel) and last.rows * rows > 0:
                turned[-1] = Wheel(last.rows + rows)
            elif isinstance(last, Key) and last == event:
                turned[-1] = Wheel(2 * rows)
            elif last is None and now < self._wheel_until:
                turned.append(Wheel(rows))
            else:
                turned.append(event)
        match turned[-1] if turned else None:
            case Wheel():
                self._wheel_until = now + _NOTCH_S
            case Key("up" | "down") as arrow if self._held is None:
                turned.pop()
                self._held, self._held_until = arrow, now + _NOTCH_S
            case _:
                pass
        return turned


def _is_unbracketed(data: bytes) -> bool:
    """Say whether a read is a paste without marks: more than a hand does at once."""
    typed = data.partition(_PASTE_BEGINS)[0]
    rows = typed.replace(b"\r\n", b"\r").replace(b"\x1b\r", b"")  # Alt-Enter sends nothing
    if rows.count(b"\r") + rows.count(b"\n") > 1:
        return True
    return len(typed) > _TYPED_BYTES and _leaving().search(typed) is not None


def _broken(data: bytes, at: int) -> tuple[Key | None, int]:
    """Return what stands before the place where an escape sequence ceased to be one."""
    start = _partial_sequences().match(data, at)
    assert start is not None
    sequence = start.group()
    if sequence[1:] in (b"", b"\x1b") or sequence[1] >= 0x80:
        return Key("esc"), at + 1
    return None, start.end() - sequence.endswith(b"\x1b")


def _control_sequence(body: bytes) -> KeyEvent | None:
    """Return what a CSI or SS3 sequence means; its ESC is left out, but not that of Alt."""
    is_alt = body.startswith(b"\x1b")
    introducer, parameters, final = body[is_alt:][:1], body[is_alt:][1:-1], chr(body[-1])
    if introducer == b"O" and not parameters and final in _SS3_ALONE:
        return Key(_SS3_ALONE[final])
    if introducer == b"O" and not parameters and final in _SS3_TYPED:
        return Typed(_SS3_TYPED[final])
    if parameters == b"[":
        return Key(f"f{ord(final) - 0x40}")
    if parameters[:1] == b"<":
        return _wheel(parameters[1:], final)
    fields = _fields(parameters)
    if fields is None:
        return None
    bits = _bits(fields[1] if len(fields) > 1 else [])
    match final, [field[0] for field in fields]:
        case "I" | "O", [] if introducer == b"[":
            return Focus(final == "I")
        case "Z", _:
            return Key("shift-tab")
        case "u", [_, *_] if introducer == b"[":
            return _reported(fields[0], bits, fields[2] if len(fields) > 2 else [])
        case "~", [27, _, _]:
            return _reported(fields[2], bits, [])
        case "~", [number] | [number, _]:
            return _modified(_NUMBERS.get(number), bits, is_alt=is_alt)
        case _, [] | [1] | [1, _]:
            return _modified(_LETTERS.get(final), bits, is_alt=is_alt)
        case _, [_] if fields[0][0] > 1 and len(fields[0]) == 1:
            # xterm before 2000, and others after it: SS3 5 A, CSI 5 A.
            return _modified(_LETTERS.get(final), _bits(fields[0]), is_alt=is_alt)
        case _:
            return None


def _fields(parameters: bytes) -> list[list[int]] | None:
    """Return the numbers of a CSI sequence, each with those behind its colons; None if not such."""
    if parameters.strip(b"0123456789:;"):
        return None
    fields = parameters.split(b";") if parameters else []
    return [[int(number or b"0") for number in field.split(b":")] for field in fields]


def _bits(modifier: list[int]) -> int | None:
    """Return the modifiers that are held, as _SHIFT and so on; None where a key is let go."""
    if modifier[1:2] == [_RELEASED]:
        return None
    return (max(modifier[0], 1) - 1) & ~_LOCKS if modifier else 0


def _modified(name: str | None, bits: int | None, *, is_alt: bool = False) -> Key | None:
    if name is None or bits is None:
        return None
    if is_alt or bits & _META:
        bits = bits & ~_META | _ALT
    if not 0 <= bits <= 7:
        return None
    return Key("".join(prefix for prefix, bit in _MODIFIERS if bits & bit) + name)


def _reported(code: list[int], bits: int | None, text: list[int]) -> Key | Typed | None:
    """Return what a key means whose report another program asked for and left on.

    That is what the key sends by itself, but for Enter with Shift. Sources: "Comprehensive keyboard
    handling in terminals" of kitty (CSI u), and xterm's modifyOtherKeys.

    code: the key, as it is with Shift, and as it is where ASCII is typed; the last two if they are
    known. text: what it types, if that is known.
    """
    if code[0] in _KEYPAD:
        return _modified(_KEYPAD[code[0]], bits)
    if bits is None or bits > 7:
        return None
    char = _KEYPAD_TYPED.get(code[0]) or _char(code[0])
    if bits & (_ALT | _CTRL) and not char.isascii() and len(code) > 2:
        char = _char(code[2])
    match char:
        case "\r":
            return _NEWLINE if bits & (_SHIFT | _ALT) else _ENTER
        case "\t":
            return Key("shift-tab" if bits & _SHIFT else "tab")
        case "\x1b":
            return _ESC
        case "\x08" | "\x7f":
            return Key("alt-backspace" if bits & _ALT else "backspace")
        case _ if not _is_text(char):
            return None
        case _:
            pass
    if bits & _SHIFT:
        shifted = _char(code[1]) if len(code) > 1 else char.upper()
        char = shifted if len(shifted) == 1 and _is_text(shifted) else char
    if bits & _CTRL:
        # Ctrl-Shift-C is a terminal's Copy, and so on: never a reason to leave.
        is_letter = char.isascii() and char.isalpha() and not bits & _SHIFT
        control = ord(char.lower()) & 0x1F if is_letter else _WITH_CTRL.get(char)
        if control is None:
            return None
        if control == 0x1B:
            return _ESC
        return _with_alt(_CONTROLS[control]) if bits & _ALT else Key(_CONTROLS[control])
    if bits & _ALT:
        return _with_alt(char)
    typed = "".join(map(_char, text))
    return Typed(typed if typed and all(map(_is_text, typed)) else char)


def _with_alt(name: str) -> Key:
    return Key(f"ctrl-alt-{name[5:]}" if name.startswith("ctrl-") else f"alt-{name}")


def _char(code: int) -> str:
    """Return a character by its number; a NUL for what is none."""
    return chr(code) if code <= 0x10FFFF else "\0"


def _is_text(char: str) -> bool:
    # The keys of kitty that type nothing are in a private area.
    return unicodedata.category(char)[0] != "C"


def _wheel(parameters: bytes, final: str) -> Wheel | None:
    """Return the step of an SGR mouse report (?1006); all else the mouse does is ignored."""
    fields = _fields(parameters)
    if final != "M" or not fields:
        return None
    match fields[0][0] & ~_MOUSE_MODIFIERS:
        case 64:
            return Wheel(_NOTCH_ROWS)
        case 65:
            return Wheel(-_NOTCH_ROWS)
        case _:
            return None
