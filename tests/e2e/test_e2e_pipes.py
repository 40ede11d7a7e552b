"""Standard input and output of programs: --send, --tail, --json (UX.md 8)."""

from __future__ import annotations

import json
import subprocess

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
        'Row 2 is not {"text": ..., "to": NAME}. It was not sent.',
        "Row 4: Nobody here is called nobody. It was not sent.",
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
