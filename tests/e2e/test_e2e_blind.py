"""What one client types reaches the other, and is nowhere in between."""

from __future__ import annotations

import base64
import secrets
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import House, Proxy


def forms(marker: str) -> dict[str, bytes]:
    """Return how a marker could be hidden from a search for it."""
    data = marker.encode()
    shown = {
        "utf-8": data,
        "utf-16": marker.encode("utf-16-le"),
        "utf-32": marker.encode("utf-32-le"),
        "hex": data.hex().encode(),
    }
    for shift in range(3):
        # Base64 of the marker wherever it stands; what depends on its neighbours is cut off.
        shown[f"base64 {shift}"] = base64.b64encode(b"\0" * shift + data)[4:-4]
    return shown


def found(marker: str, where: bytes) -> list[str]:
    return [name for name, form in forms(marker).items() if form in where]


def talk(house: House, names: tuple[str, str], markers: tuple[str, str], room: str) -> Proxy:
    """Let two clients say a marker each to the other, through a proxy."""
    relay = house.relays[-1]
    proxy = house.proxy(relay)
    where = f"{relay.key}@127.0.0.1:{proxy.port}"
    first = house.screen(where, names[0], "--room", room)
    first.wait_for(f"as {names[0]}")
    second = house.lines(where, names[1], "--room", room)
    first.wait_for(f"{names[1]} joined")
    first.say(markers[0])
    second.wait_for(f"{names[0]}: {markers[0]}")
    second.say(markers[1])
    first.wait_for(markers[1])
    return proxy


def test_nothing_said_passes_the_wire_or_the_console(house: House) -> None:
    relay = house.relay()
    names = (f"n{secrets.token_hex(8)}", f"n{secrets.token_hex(8)}")
    markers = (f"m{secrets.token_hex(16)}", f"m{secrets.token_hex(16)}")
    room = f"r{secrets.token_hex(8)}"
    proxy = talk(house, names, markers, room)
    seen = bytes(proxy.seen)
    assert b"Sec-WebSocket-Protocol: termchat.v1" in seen
    assert len(seen) > 2_000
    for marker in (*names, *markers, room):
        assert not found(marker, seen)
    assert relay.stop() == 0
    # The console names who comes; it is what they say that it cannot know.
    assert found(names[0], bytes(relay.out))
    for marker in markers:
        assert not found(marker, bytes(relay.out + relay.err))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/PID/mem")
def test_nothing_said_is_in_the_memory_of_the_relay(house: House) -> None:
    relay = house.relay()
    names = (f"n{secrets.token_hex(8)}", f"n{secrets.token_hex(8)}")
    markers = (f"m{secrets.token_hex(16)}", f"m{secrets.token_hex(16)}")
    talk(house, names, markers, "")
    try:
        memory = written_memory(relay.pid)
    except PermissionError:
        pytest.skip("this system does not let a parent read its child's memory")
    assert any(found(names[0], part) for part in memory)
    for marker in markers:
        assert not any(found(marker, part) for part in memory)


def written_memory(pid: int) -> list[bytes]:
    parts = []
    with Path(f"/proc/{pid}/mem").open("rb") as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            where, rights, *_ = line.split()
            if rights.startswith("rw"):
                start, end = (int(at, 16) for at in where.split("-"))
                memory.seek(start)
                parts.append(memory.read(end - start))
    return parts
