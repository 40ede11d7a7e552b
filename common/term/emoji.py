"""Emoji by name: the common short ones, and those of Unicode."""

from __future__ import annotations

import unicodedata
from functools import cache

_MOST = 40
_RANGES = ((0x2600, 0x27C0), (0x1F300, 0x1F650), (0x1F680, 0x1F6FD), (0x1F900, 0x1FB00))
_SHORT = {
    "+1": "👍", "-1": "👎", "100": "💯", "alien": "👽", "angry": "😠", "beer": "🍺", "beers": "🍻",
    "blush": "😊", "bomb": "💣", "boom": "💥", "broken_heart": "💔", "bug": "🐛", "bulb": "💡",
    "cake": "🍰", "cat": "🐱", "check": "✅", "clap": "👏", "coffee": "☕", "confused": "😕",
    "cool": "😎", "cry": "😢", "dog": "🐶", "eyes": "👀", "fire": "🔥", "ghost": "👻", "gift": "🎁",
    "grin": "😁", "grinning": "😀", "hand": "✋", "heart": "❤", "heart_eyes": "😍", "hug": "🤗",
    "hugs": "🤗", "innocent": "😇", "joy": "😂", "key": "🔑", "kiss": "💋", "laughing": "😆",
    "lock": "🔒", "lol": "😂", "mail": "📧", "moon": "🌙", "muscle": "💪", "neutral_face": "😐",
    "no": "❌", "ok": "👌", "ok_hand": "👌", "party": "🎉", "penguin": "🐧", "phone": "📱",
    "pizza": "🍕", "poop": "💩", "pray": "🙏", "question": "❓", "rage": "😡", "raised_hands": "🙌",
    "relaxed": "☺", "robot": "🤖", "rocket": "🚀", "rofl": "🤣", "rose": "🌹", "sad": "😞",
    "scream": "😱", "shrug": "🤷", "skull": "💀", "sleeping": "😴", "smile": "😄", "smiley": "😃",
    "smirk": "😏", "snake": "🐍", "sob": "😭", "star": "⭐", "sun": "🌞", "sunglasses": "😎",
    "sunny": "☀", "sweat_smile": "😅", "tada": "🎉", "thinking": "🤔", "thumbsdown": "👎",
    "thumbsup": "👍", "tongue": "😛", "unlock": "🔓", "upside_down": "🙃", "warning": "⚠",
    "wave": "👋", "wink": "😉", "x": "❌", "yes": "✅", "zap": "⚡", "zzz": "💤",
}  # fmt: skip


def named(word: str) -> tuple[str, ...]:
    """Return the emoji whose name a word is, or else begins: short names first, each once."""
    word = word.casefold().replace("-", "_") if word != "-1" else word
    whole = [names[word] for names in (_SHORT, _unicode()) if word in names]
    begun = (
        emoji
        for names in (_SHORT, _unicode())
        for name, emoji in sorted(names.items())
        if name.startswith(word)
    )
    return tuple(dict.fromkeys((*whole, *begun)))[:_MOST] if word else ()


@cache
def _unicode() -> dict[str, str]:
    """Return what Unicode calls them, blanks and hyphens as `_`."""
    names = {}
    for start, end in _RANGES:
        for code in range(start, end):
            # Only what this Python's Unicode knows: anything else is not shown.
            name = unicodedata.name(chr(code), "")
            if name:
                names[name.casefold().replace(" ", "_").replace("-", "_")] = chr(code)
    return names
