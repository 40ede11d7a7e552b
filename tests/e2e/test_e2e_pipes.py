"""Standard input and output of programs: --send, --tail, --json (UX.md 8)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

from tests.e2e.harness import House, Lines, Relay


def send(house: House, relay: Relay | str, name: str, data: str, *more: str) -> Lines:
    program = Lines(house, house.member(relay, name, "--send", *more))
    program.write(data)
    program.end_input()
    return program


def test_what_is_piped_in_comes_out_at_the_other_end(house: House) -> None:
    relay = house.relay()
    tail = Lines(house, house.member(relay, "tail", "--tail", "3"), subprocess.DEVNULL)
    relay.wait_for("Username: tail")
    # It has the marks of a command, and is none.
    make = send(house, relay, "make", "/quit\nexit\n")
    assert make.ended() == 0
    lines = "".join(f"line {number}\n" for number in range(3_000))
    assert send(house, relay, "block", lines, "--block").ended() == 0
    assert tail.ended() == 0
    assert make.out + make.err == b""
    said = [row.partition(": ")[2] if ": " in row else row.strip() for row in tail.rows]
    assert said[:3] == ["/quit", "exit", "line 0"]
    assert said[2:] == lines.splitlines()[: len(said) - 2]
    assert "make joined (fingerprint" in tail.errors[0]


def test_a_bot_reads_objects_and_answers_with_objects(house: House) -> None:
    relay = house.relay()
    bot = Lines(house, house.member(relay, "bot", "--send", "--tail", "--json"))
    relay.wait_for("Username: bot")
    ace = house.bot(relay, "ace")
    bot.wait_for('"joined"')
    ace.say("ping")
    bot.wait_for('"message"')
    bot.write('{"text": "pong", "to": "ace"}\n{"text": "pong?", "too": "ace"}\n{"text": "all"}\n')
    bot.wait_for('"sent"', 2)
    house.until(lambda: ace.heard == ["pong", "all"])
    bot.write('{"text": "never", "to": "nobody"}\n')
    bot.end_input()
    assert bot.ended() == 1
    rows = [json.loads(row) for row in bot.rows]
    told = [(row["kind"], row["from"], row["to"], row["text"]) for row in rows[1:]]
    assert told == [
        ("message", "ace", "", "ping"),
        ("sent", "bot", "ace", "pong"),
        ("sent", "bot", "", "all"),
    ]
    assert bot.errors == [
        '-- Row 2 is not {"text": ..., "to": NAME}. It was not sent.',
        "-- Row 4: Nobody here is called nobody. It was not sent.",
    ]


def test_a_relay_that_goes_away_is_not_waited_for_for_ever(house: House) -> None:
    relay = house.relay()
    make = Lines(house, house.member(relay, "make", "--send", "--timeout", "1"))
    bot = house.bot(relay, "bea")
    make.write("first\n")
    house.until(lambda: bot.heard == ["first"])
    relay.stop()
    house.until(lambda: "Retrying" in make.err.decode())
    make.write("second\nthird\n")
    assert make.ended() == 1
    assert make.errors[-1] == "2 lines were not delivered. What followed was not read."


def test_no_relay_and_no_key(house: House) -> None:
    relay = house.relay()
    where = relay.ticket
    relay.stop()
    lost = send(house, where, "make", "x\n")
    assert lost.ended() == 4
    assert len(lost.errors) == 1
    mistyped = send(house, f"x{where[1:]}", "make", "x\n")
    assert mistyped.ended() == 2


def test_a_reader_that_ends_ends_the_tail(house: House) -> None:
    relay = house.relay()
    bot = house.bot(relay, "bea")
    shell = ["/bin/sh", "-c", '"$@" | head -n 1; sleep 0', "sh"]
    tail = Lines(house, [*shell, *house.member(relay, "tail", "--tail")], subprocess.DEVNULL)
    house.until(lambda: bot.conversation.members == 2)
    bot.say("one")
    tail.wait_for("bea: one")
    # `head` has ended, and the tail learns it as it writes.
    bot.say("two")
    bot.say("three")
    assert tail.ended() == 0
    assert len(tail.rows) == 1


def test_a_reader_that_pauses_loses_nothing_and_harms_nobody(house: House) -> None:
    relay = house.relay("--rate", "100000", "--burst", "100000", "--inbound", "1000000000")
    ace, bea = house.bot(relay, "ace"), house.bot(relay, "bea")
    tail = Lines(house, house.member(relay, "tail", "--tail", "--json"), subprocess.DEVNULL)
    house.until(lambda: ace.conversation.members == 3)
    tail.stop_reading()
    before = resident_bytes(tail)
    # More than what every buffer on the way holds, so that the relay gives up on the tail.
    said = "".join(f"{number:0255}\n" for number in range(72_000))
    (house.path / "said").write_text(said)
    with (house.path / "said").open() as file:
        make = Lines(house, house.member(relay, "make", "--send"), file.fileno())
    assert make.ended() == 0
    relay.wait_for("reading too slowly")
    ace.say("can you hear me?")
    house.until(lambda: bea.heard[-1:] == ["can you hear me?"])
    tail.read_on()
    house.until(lambda: b"can you hear me?" in tail.out[-200:])
    assert resident_bytes(tail) < before + 5_000_000
    rows = [json.loads(row) for row in tail.rows]
    texts = [row["text"] for row in rows if row["kind"] == "message"]
    assert "\n".join(texts) == f"{said}can you hear me?"
    tail.out.clear()  # the house would look through it for long


def resident_bytes(program: Lines) -> int:
    """Return how much memory a process holds now; 0 where that is not told."""
    try:
        pages = Path(f"/proc/{program.pid}/statm").read_text().split()[1]
    except FileNotFoundError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def test_a_session_that_is_gone_is_said_and_survived(house: House) -> None:
    """The relay comes back with its KEY and without its log: 410."""
    data = house.path / "data"
    relay = house.relay("--host", "127.0.0.1", "--data", str(data))
    bea = house.bot(relay, "bea")
    proxy = house.proxy(relay)
    where = f"{relay.key}@127.0.0.1:{proxy.port}"
    make = Lines(house, house.member(where, "make", "--send"))
    tails = [
        Lines(house, house.member(where, name, "--tail", *flags), subprocess.DEVNULL)
        for name, *flags in (("rows",), ("objects", "--json"))
    ]
    house.until(lambda: bea.conversation.members == 4)
    bea.say("before")
    for tail in tails:
        tail.wait_for("before")
    relay.signal(signal.SIGSTOP)
    passed = len(proxy.up)
    make.write("sent, but\nwho got it\n")
    house.until(lambda: len(proxy.up) > passed)
    relay.signal(signal.SIGKILL)
    relay.ended()
    for file in data.glob("log.sqlite*"):
        file.unlink()
    again = house.relay("-p", str(relay.port), "--host", "127.0.0.1", "--data", str(data))
    again.wait_for("[Connected]", 3)
    cid = house.bot(again, "cid")
    cid.say("after")
    gap = "We were away too long: what was said meanwhile is lost."
    for tail in tails:
        tail.wait_for("after")
        assert f"!! {gap}" in tail.errors
    assert [row[5:] for row in tails[0].rows] == [" bea: before", " cid: after"]
    told = [(row["kind"], row["text"]) for row in map(json.loads, tails[1].rows)]
    assert [row for row in told if row[0] in ("message", "warning")] == [
        ("message", "before"),
        ("warning", gap),
        ("message", "after"),
    ]
    make.write("delivered\n")
    make.end_input()
    assert make.ended() == 1
    assert f"!! {gap}" in make.errors
    assert "!! 2 lines were not sent: others may have joined." in make.errors
    assert make.errors[-1] == "2 lines were not delivered."
