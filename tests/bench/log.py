"""What a stored log takes in and gives out, next to the log in memory: `python tests/bench/log.py`.

A room of the relay with so many seats; one thread says and reads for all of them, as a loop does,
and the stored log has its writer thread beside it. Every line counts once it is on the disk.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from common.log.memory import MemoryLog
from common.log.sqlite import Store
from common.relay.room import Room
from common.relay.rules import Rules
from common.wire.records import Kind
from tests.unit.relay.people import ROOM_ID, Member, seat

BYTES = 300


class Writer:
    """The writer thread of `server.py`, without a server."""

    def __init__(self, directory: Path) -> None:
        self._has_work = threading.Event()
        self.store = Store(directory, self._has_work.set)
        self.commits = 0
        self._is_over = False
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def _run(self) -> None:
        while not self._is_over:
            self._has_work.wait()
            self._has_work.clear()
            for log in self.store.commit():
                log.on_commit()
            self.commits += 1

    def stop(self) -> None:
        """Write what is left."""
        self._is_over = True
        self._has_work.set()
        self._thread.join()
        self.store.close()


def measure(room: Room, seats: int, lines: int, writer: Writer | None) -> float:
    """Say so many lines and read them all at every seat; return seconds."""
    members = [seat(room, f"m{number}") for number in range(seats)]
    while any(member.seat.cursor.room < seats for member in members):
        _read(members)
    speaker = members[0]
    body = bytes(BYTES)
    began_s = time.perf_counter()
    for said in range(lines):
        seen = room._log.room_seq
        speaker.send(Kind.MESSAGE, body[:8] + seen.to_bytes(8) + body[16:])
        if said % 64 == 0:
            _read(members)
        while writer is not None and writer.store.is_backlogged:
            time.sleep(0.001)
    while any(member.seat.cursor.room < seats + lines for member in members):
        if not _read(members):
            time.sleep(0.0005)
    return time.perf_counter() - began_s


def _read(members: list[Member]) -> int:
    return sum(len(member.room.read(member.seat, member.holder)) for member in members)


def main() -> None:
    """Measure by turns, and print the best of each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lines", type=int, default=20_000)
    parser.add_argument("--seats", type=int, default=8)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--dir", type=Path, help="where the file is; default: the temporary one")
    given = parser.parse_args()
    best = {"memory": 1e9, "sqlite": 1e9}
    commits = 0
    for _ in range(given.turns):
        room = Room("", ROOM_ID, MemoryLog(bytes(16)), 120.0, Rules(), threading.Lock())
        best["memory"] = min(best["memory"], measure(room, given.seats, given.lines, None))
        with tempfile.TemporaryDirectory(dir=given.dir) as directory:
            writer = Writer(Path(directory) / "data")
            log = writer.store.add("", bytes(16))
            room = Room("", ROOM_ID, log, 120.0, Rules(), threading.Lock())
            log.on_commit = room.show
            writer.start()
            best["sqlite"] = min(best["sqlite"], measure(room, given.seats, given.lines, writer))
            commits = writer.commits
            writer.stop()
    for name, seconds in best.items():
        print(f"{name}: {given.lines / seconds:,.0f} lines/s to {given.seats} seats")
    print(
        f"ratio {best['memory'] / best['sqlite']:.2f}, {given.lines / commits:.0f} lines a commit"
    )


if __name__ == "__main__":
    main()
