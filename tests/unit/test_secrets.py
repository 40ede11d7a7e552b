"""What can hold a secret does not show it where a program prints its values."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from typing import Any

import pytest

import common
from common.client.dial import Prepared
from common.config import ClientConfig, PeerConfig, ServerConfig
from common.crypto.ticket import PeerKeys, Ticket
from common.files import Shared
from common.ini import Source
from common.member import contents
from common.member.commands import SAY, Call
from common.member.events import Line, PasswordTold
from common.member.uplink import Address
from common.term.draft import _Edit
from common.term.editor import Submit, _Line
from common.term.keys import Paste, Typed
from common.term.prompt import Entered
from common.wire.orders import Order
from common.wire.records import Command, Kind, MemberId, Sent

MARKER = "hunter2"
BYTES = MARKER.encode()
NAMES = frozenset(
    ("fernet_key", "key", "passphrase", "password", "psk", "secret", "static_private", "ticket")
)
"""Of fields that hold a secret."""


@pytest.mark.parametrize(
    "value",
    [
        ClientConfig(MARKER, "ace", MARKER, passphrase=MARKER, peer=PeerConfig("f", "", 1, MARKER)),
        PeerConfig("config.ini", "127.0.0.1", 1, MARKER),
        ServerConfig(MARKER),
        Source("config.ini", {"client": {"password": MARKER}}, []),
        Shared(BYTES, "", is_readable=False),
        Prepared(1, None, BYTES, [], "", ("", 0)),
        Address(BYTES, "ws://x/", "", "ws://x/", is_secure=False, host="x", port=1),
        Ticket(BYTES, BYTES),
        PeerKeys(BYTES, BYTES, BYTES),
        contents.Password(MARKER),
        PasswordTold(None, MARKER),
        Line(1, contents.Password(MARKER), None),
        Call(SAY, (MARKER,)),
        Order("/password", text=MARKER),
        Command(1, f"/password {MARKER}"),
        Sent(Kind.COMMAND, MemberId(0), BYTES),
        Submit(f"/password {MARKER}", is_pasted=False),
        Entered(MARKER, is_pasted=False),
        Typed(MARKER),
        Paste(MARKER),
        _Edit(0, MARKER, MARKER, 0, is_pasted=False),
        _Line(f"/password {MARKER}", is_pasted=False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_secret_does_not_show(value: Any) -> None:
    assert MARKER not in f"{value!r} {value} {[value]}"


def test_no_value_with_such_a_field_is_left_out() -> None:
    names = [module.name for module in pkgutil.walk_packages(common.__path__, "common.")]
    found = 0
    for name in [*names, "server"]:
        for kind in vars(importlib.import_module(name)).values():
            if not inspect.isclass(kind) or kind.__module__ != name:
                continue
            fields = getattr(kind, "_fields", ())
            if dataclasses.is_dataclass(kind):
                fields = [field.name for field in dataclasses.fields(kind)]
            if NAMES & set(fields):
                found += 1
                given: Any = [MARKER if field in NAMES else 0 for field in fields]
                make: Any = getattr(kind, "_make", lambda given, kind=kind: kind(*given))
                assert MARKER not in repr(make(given)), kind
    assert found >= 6
