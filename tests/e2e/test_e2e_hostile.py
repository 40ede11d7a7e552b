"""Nothing that a peer, a relay or a network sends can act on a terminal (UX.md 10)."""

from __future__ import annotations

import subprocess
import time

import pytest

from common.crypto import ticket
from common.crypto.identity import RelayKey
from common.wire import records
from common.wire.link import ServerLink, Upgrade
from common.wire.records import Kind
from tests.e2e.harness import House
from tests.e2e.terminal import unknown

# What is sent, and what is shown of it.
HOSTILE = (
    ("\x1b[2J\x1b[H", "␛[2J␛[H"),
    ("\x1b]52;c;aGk=\x07", "␛]52;c;aGk=␇"),
    ("\x1b]0;pwned\x07", "␛]0;pwned␇"),
    ("\x07\x07", "␇␇"),
    ("over\rWRITE", "over", "WRITE"),
    ("\x08\x08\x08", "␈␈␈"),
    ("\x7f", "␡"),
    ("\x9b2J", "<9B>2J"),
    ("\udcff\udcfe\udcc3(", "???("),
    ("\u202egnp.exe\u202c", "<202E>gnp.exe<202C>"),
    ("\u2066x\u2069", "<2066>x<2069>"),
    ("\u2028a", "<2028>a"),
    ("me\u200bme", "meme"),
    ("\U000e0041", "<E0041>"),
    ("Z" + 40 * "\u0351" + "end", "Z" + 4 * "\u0351" + "end"),
    ("low\ud800", "low"),
    ('\x1bP$q"p\x1b\\', '␛P$q"p␛\\'),
    ("\x1b[c \x1b[6n \x05", "␛[c ␛[6n ␅"),
    ("\x1b[200~/quit\r\x1b[201~", "␛[200~/quit", "␛[201~"),
    ("\x0e lqk \x0f", "␎ lqk ␏"),
    ("\x1b" * 16_000, "␛␛␛␛␛␛␛␛␛␛␛␛␛␛␛␛␛␛"),
    ("w" * 16_384, "wwwwwwwwwwwwwwwwwwwwww"),
    ("\x1bc\x1b[!p\x1b[?1049l\x1b#8", "␛c␛[!p␛[?1049l␛#8"),
    ("\x1b[5i\x1b]8;;http://x\x1b\\", "␛[5i␛]8;;http://x␛\\"),
)
TOO_MANY_MARKS = ("Z" + 5 * "\u0351").encode()


def unmarked(content: str) -> str:
    """Leave the marks out, which pyte draws into the base in its own order."""
    return content.replace("\u0351", "")


@pytest.mark.parametrize("columns", [80, 40])
def test_hostile_messages_are_shown_as_pictures(house: House, columns: int) -> None:
    relay = house.relay()
    screen = house.screen(relay, "screen", columns=columns)
    screen.wait_for("Connected to lobby as screen.")
    plain = house.screen(relay, "plain", "--plain", columns=200)
    screen.wait_for("plain joined")
    pipe = house.lines(relay, "pipe")
    plain.wait_for("pipe joined")
    bot = house.bot(relay, "mallory")
    for number, (said, *shown) in enumerate(HOSTILE):
        bot.say(said)
        ends = f"after {number}."
        bot.say(ends)
        for member in (screen, plain, pipe):
            member.wait_for(ends)
        for rows in (screen.display, plain.display, pipe.rows):
            drawn = unmarked("\n".join(rows))
            assert all(unmarked(each) in drawn for each in shown), drawn
        assert TOO_MANY_MARKS not in screen.raw + plain.raw + bytes(pipe.out)
    screen.say("still here")
    pipe.wait_for("screen: still here")
    for terminal in (screen, plain):
        terminal.signal(15)
        assert terminal.ended() == 0


def test_hostile_lines_on_a_pipe_are_cleaned_by_their_sender_too(house: House) -> None:
    relay = house.relay()
    screen = house.screen(relay, "screen")
    screen.wait_for("Connected to lobby")
    pipe = house.lines(relay, "pipe")
    screen.wait_for("pipe joined")
    for said, *_ in HOSTILE:
        pipe.write(said.encode("utf-8", "replace") + b"\n")
    pipe.write(b"\xff\xfe\xc3( not UTF-8\n")
    screen.wait_for("\ufffd\ufffd\ufffd( not UTF-8")
    pipe.write(b"\x1b" * 1024 * 1024 + b"\n")
    pipe.say("done")
    screen.wait_for("done")
    pipe.wait_for("16 KB is the limit")
    pipe.end_input()
    assert pipe.ended() == 0


def test_hostile_names_that_are_allowed(house: House) -> None:
    relay = house.relay()
    screen = house.screen(relay, "ace")
    screen.wait_for("Connected to lobby")
    plain = house.screen(relay, "plain", "--plain", columns=200)
    plain.wait_for("You are connected")
    names = (
        "\u0430\u0441\u0435",  # Cyrillic, looks like ace
        "Z\u0324\u0325\u032d\u0330",  # as many marks as one may have
        "\u05d0\u05d1\u05d2",  # written from right to left
        "\u5317x\u3072",
        "x-x_",
    )
    for number, name in enumerate(names):
        bot = house.bot(relay, name)
        bot.say(f"this is {number}")
        for terminal in (screen, plain):
            terminal.wait_for(f"this is {number}")
        if number == 0:
            for terminal in (screen, plain):
                terminal.wait_for("\u0430\u0441\u0435 is not ace: its letters are Cyrillic.")
    relay.wait_for("[Connected] Username: \u05d0\u05d1\u05d2")


def test_a_hostile_address_of_ones_own_is_only_text(house: House) -> None:
    relay = house.relay()
    pipe = house.lines(relay, "ace", "--url", f"ws://localhost:{relay.port}/\x1b[2J\x07")
    pipe.wait_for(f"Connected to `ws://localhost:{relay.port}/␛[2J␇` server.")


def hostile_relay(house: House, name: str, *sent: records.Delivered, ends: str) -> list[str]:
    """Let a client join a relay that says this, and return what the client wrote."""
    key = RelayKey.generate()
    where = ticket.key_text(key.public)
    psk = ticket.derive_psk("top_secret", key.public)
    with house.listener() as listener:
        client = house.lines(
            f"{where}@127.0.0.1:{listener.getsockname()[1]}", name, stdin=subprocess.DEVNULL
        )
        sock, _ = listener.accept()
        with sock:
            link = ServerLink(time.monotonic())
            while not any(
                isinstance(event, Upgrade)
                for event in link.receive(sock.recv(64 * 1024), time.monotonic())
            ):
                pass
            link.open(key, psk)
            assert link.accept(time.monotonic())
            for record in sent:
                link.send(record)
            if ends:
                link.close(403, ends, time.monotonic())
            for data in link.outgoing():
                sock.sendall(data)
            client.ended()
    return client.rows + client.errors


def test_a_hostile_relay_has_only_words(house: House) -> None:
    text = "\x1b[2J\x1b]0;pwned\x07 \u202egnp \x9b2J over\rWRITE"
    shown = "\n".join(hostile_relay(house, "ace", ends=text))
    assert "You were removed by the operator." in shown
    assert "␛[2J␛]0;pwned␇ <202E>gnp <9B>2J over" in shown


def test_a_notice_of_a_hostile_relay_has_only_words(house: House) -> None:
    notice = records.from_relay(Kind.NOTICE, b"\x1b[2J\x07 \xc2\x9b2J pay here")
    shown = "\n".join(hostile_relay(house, "ace", notice, ends="bye"))
    assert "The relay says: ␛[2J␇ <9B>2J pay here" in shown


@pytest.mark.parametrize(
    "raw",
    [
        b"\x07", b"\x1b]0;x\x07", b"\x1b]52;c;aGk=\x07", b"\x1b[6n", b"\x1b[c", b"\x1bP$q\x1b\\",
        b"\xc2\x9b2J", b"\xff", b"\x0e", b"\x1b[!p", b"\x1bc", b"\x1b[?1000h", b"\x1b[?3h",
        "\u202e".encode(), b"\x1b", b"\x05", b"\x7f", b"\x1b#8", b"\x1b[200~",
    ],
)  # fmt: skip
def test_the_judge_of_all_this_is_awake(raw: bytes) -> None:
    for is_plain in (True, False):
        assert unknown(b"text" + raw + b"text", is_plain=is_plain)
    assert not unknown(b"\x1b[1;31mtext\x1b[m\r\n", is_plain=True)
    assert unknown(b"\x1b[H", is_plain=True)
    assert not unknown(b"\x1b[?1049h\x1b[22;0;0t\x1b[H\x1b[2J\x1b[5b", is_plain=False)
