"""The test vectors of PROTOCOL.md 11, and the two people in them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.crypto import card
from common.crypto.card import Card
from common.crypto.identity import Identity
from common.crypto.primitives import CardKey

FOLDER = Path(__file__).parents[2] / "vectors"


def load(name: str) -> Any:
    """Return a vector file as JSON has it."""
    return json.loads((FOLDER / name).read_text())


TERMCHAT = load("termchat-v1.json")
unhex = bytes.fromhex
ROOM_ID = unhex(TERMCHAT["room"]["room_id"])


@dataclass(frozen=True)
class Person:
    """One member, with everything private."""

    username: str
    identity: Identity
    session: bytes
    card_key: CardKey
    card: Card


def _person(vector: Any) -> Person:
    return Person(
        vector["username"],
        Identity.from_seed(unhex(vector["identity_seed"])),
        unhex(vector["session"]),
        CardKey.from_seeds(unhex(vector["mlkem_seed"]), unhex(vector["x25519_private"])),
        card.decode(unhex(vector["card"]), ROOM_ID),
    )


ACE, ZOE = (_person(vector) for vector in TERMCHAT["cards"])


def flips(data: bytes) -> list[bytes]:
    """Return copies of `data`, each with one bit of another byte turned."""
    return [
        data[:at] + bytes([byte ^ 1 << at % 8]) + data[at + 1 :] for at, byte in enumerate(data)
    ]
