"""Each refusal of the client is a sentence of its own, and an exit code (UX.md 8)."""

from __future__ import annotations

import socket
import subprocess

import pytest

from common.crypto import ticket
from common.member.sentences import unproven
from tests.e2e.harness import House, Relay

KEY = ticket.key_text(bytes(range(32)))
NO_TERMINAL = "Input or output is no terminal: line mode."


def refused(house: House, relay: Relay | str, name: str, *more: str) -> tuple[int, str]:
    """Return the exit code of a client that is not let in, and its only sentence."""
    member = house.lines(relay, name, *more, stdin=subprocess.DEVNULL)
    code = member.ended()
    assert not member.rows
    (sentence,) = member.errors
    return code, sentence


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        (KEY[:40], "KEY is incomplete: 40 of 44 characters."),
        (KEY + "A", "KEY is too long: 45 characters instead of 44."),
        (
            KEY[:9] + ("B" if KEY[9] == "A" else "A") + KEY[10:],
            "KEY is mistyped: its check does not match. Copy it again.",
        ),
        (KEY[:9] + "+" + KEY[10:], "KEY has a foreign character at position 10. Copy it again."),
        ("", "KEY is missing."),
    ],
)
def test_a_key_that_is_wrong_by_itself_is_found_without_the_network(
    house: House, key: str, sentence: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        where = f"{key}@127.0.0.1:{listener.getsockname()[1]}"
        assert refused(house, where, "ace") == (2, sentence)
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_no_key_at_all(house: House) -> None:
    code, sentence = refused(house, "", "ace")
    assert code == 2
    assert sentence.startswith("There is no KEY and no config.ini: ")


CHARACTERS = "A username has letters and digits in use today, and _ - . ' between them, but not"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("p\u0430ul", "A username does not mix Latin and Cyrillic characters."),
        ("*", f"{CHARACTERS} *."),
        ("a b", "A username has no spaces or control characters."),
        ("a\x1b[2J", "A username has no spaces or control characters."),
        ("me\u200b", f"{CHARACTERS} U+200B."),
        ("\udcff", f"{CHARACTERS} U+DCFF."),
        ("n" * 33, "A username has at most 32 characters and 64 bytes."),
    ],
)
def test_a_name_that_is_not_allowed(house: House, name: str, sentence: str) -> None:
    assert refused(house, KEY, "any", "--username", name) == (2, sentence)


def test_flags_that_do_not_exist(house: House) -> None:
    code, sentence = refused(house, KEY, "ace", "--nonsense\x1b[2J")
    assert (code, sentence) == (2, "Unrecognized arguments: --nonsense␛[2J. See client.py --help.")


def test_a_password_that_is_no_text(house: House) -> None:
    code, sentence = refused(house, KEY, "ace", "--password", "\udcff")
    assert (code, sentence) == (2, "The password is not valid text.")


def test_no_relay_there(house: House) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        code, sentence = refused(house, f"{KEY}@{where}", "ace")
    assert code == 4
    reason = "connection refused. Is the server running there?"
    assert sentence == f"Cannot reach {where}: {reason}"


def test_no_such_host(house: House) -> None:
    code, sentence = refused(house, f"{KEY}@{'a' * 64}", "ace")
    assert (code, sentence) == (
        4,
        f"{'a' * 64} is not known. Check the address, and your connection.",
    )


def test_something_else_listens_there(house: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        where = f"{KEY}@127.0.0.1:{listener.getsockname()[1]}"
        member = house.lines(where, "ace", stdin=subprocess.DEVNULL)
        with listener.accept()[0] as sock:
            sock.recv(64 * 1024)
            sock.sendall(b"SSH-2.0-OpenSSH_9.9 \x1b[2J\r\n\r\n")
            assert member.ended() == 3
        (sentence,) = member.errors
        assert sentence.startswith(unproven("protocol error"))


@pytest.mark.parametrize(
    ("status", "start"),
    [(401, unproven("wrong KEY or password.")), (404, unproven("no such"))],
)
def test_a_proxy_answers(house: House, status: int, start: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        where = f"{KEY}@127.0.0.1:{listener.getsockname()[1]}"
        member = house.lines(where, "ace", "--password", "x", stdin=subprocess.DEVNULL)
        with listener.accept()[0] as sock:
            sock.recv(64 * 1024)
            reason = b"\x1b]0;pwned\x07\x1b[2J"
            sock.sendall(
                b"HTTP/1.1 %d %s\r\nX: %s\r\nContent-Length: 0\r\n\r\n" % (status, reason, reason)
            )
            code = member.ended()
        # A reason that is no text makes it no HTTP at all.
        assert code == 3
        (sentence,) = member.errors
        assert sentence.startswith((start, unproven("protocol error")))


def test_a_wrong_password_and_nobody_to_ask(house: House) -> None:
    relay = house.relay("--password", "right", "--host", "127.0.0.1")
    expected = (3, unproven("wrong KEY or password."))
    assert refused(house, relay, "ace") == expected
    assert refused(house, relay, "ace", "--password", "wrong") == expected
    other = f"{KEY}@127.0.0.1:{relay.port}"
    assert refused(house, other, "ace", "--password", "right") == expected
    relay.wait_for("wrong KEY or password", 3)
    environ: dict[str, str | None] = {"TERMCHAT_PASSWORD": "right", "TERMCHAT_KEY": relay.ticket}
    member = house.lines("", "ace", env=environ)
    member.wait_for("You are connected as `ace`.")


@pytest.mark.parametrize("more", [(), ("--plain",)])
def test_a_terminal_is_asked_for_the_password_and_shows_none_of_it(
    house: House, more: tuple[str, ...]
) -> None:
    relay = house.relay("--password", "right-one", "--host", "127.0.0.1")
    ace = house.screen(relay, "ace", *more)
    ace.wait_for("Password:")
    ace.type("wrong-one")
    ace.type("\r")
    ace.wait_for("Wrong KEY or password.")
    relay.wait_for("wrong KEY or password", 2)
    ace.type("right-one")
    ace.type("\r")
    ace.wait_for("ace")
    relay.wait_for("[Connected] Username: ace")
    ace.say("in at last")
    ace.wait_for("in at last")
    for secret in (b"wrong-one", b"right-one", b"ight", b"***"):
        assert secret not in ace.raw


def test_a_terminal_that_gives_no_password(house: House) -> None:
    relay = house.relay("--password", "right", "--host", "127.0.0.1")
    for more, key in (((), "\x03"), ((), "\x1b"), ((), "\x04"), (("--plain",), "\x04")):
        ace = house.screen(relay, "ace", *more)
        ace.wait_for("Password:")
        ace.type(key)
        assert ace.ended() == 3
        ace.wait_for("No password was given.")


def test_a_name_in_use_in_another_letter_case(house: House) -> None:
    relay = house.relay()
    house.bot(relay, "Ace")
    assert refused(house, relay, "aCE") == (
        3,
        unproven("the name aCE is in use. Choose another with --username."),
    )
    relay.wait_for("that name is in use")


def test_a_room_that_is_full(house: House) -> None:
    relay = house.relay("--room-size", "1")
    house.bot(relay, "ace")
    code, sentence = refused(house, relay, "bea")
    assert code == 3
    assert sentence.startswith(unproven("the relay is full"))
    relay.wait_for(": full")
    inside = house.lines(relay, "bea", "--room", "other")
    inside.wait_for("You are connected")


def test_no_more_rooms(house: House) -> None:
    relay = house.relay("--rooms", "1")
    house.bot(relay, "ace")
    code, sentence = refused(house, relay, "bea", "--room", "other")
    assert code == 3
    assert sentence.startswith(unproven("the relay is full"))


def test_no_rooms_but_the_lobby(house: House) -> None:
    relay = house.relay("--rooms", "0")
    assert refused(house, relay, "bea", "--room", "other") == (
        3,
        unproven("no such room."),
    )
    inside = house.lines(relay, "bea", "--room", "Lobby")
    inside.wait_for("You are connected")


def test_throttled_after_ten_wrong_passwords(house: House) -> None:
    relay = house.relay("--host", "127.0.0.1")
    for _ in range(10):
        stranger = relay.connect()
        stranger.sendall(
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Protocol: termchat.v1\r\nAuthorization: Noise AAAA\r\n\r\n"
        )
        assert stranger.recv(12) == b"HTTP/1.1 401"
    code, sentence = refused(house, relay, "ace")
    assert code == 3
    assert sentence.startswith(unproven("too many wrong passwords"))
    relay.wait_for("throttled")
