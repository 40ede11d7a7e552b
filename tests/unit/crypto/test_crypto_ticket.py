from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.crypto import ticket
from common.crypto.identity import RelayKey
from common.crypto.points import has_small_order
from common.crypto.ticket import PeerKeys, Ticket
from common.errors import UsageError
from tests.unit.crypto.vectors import TERMCHAT, unhex

KEY = unhex(TERMCHAT["psk"]["key"])
TEXT = TERMCHAT["psk"]["key_text"]
SECRET = unhex(TERMCHAT["p2p"]["secret"])
SECRET_TEXT = "MCrE6c4DkUCtcShAHnnasA"


def test_key_text_is_the_vector() -> None:
    assert ticket.key_text(KEY) == TEXT
    assert ticket.parse(TEXT) == Ticket(KEY)


@pytest.mark.parametrize("name", ["psk", "psk_empty_password"])
def test_psk_is_the_vector(name: str) -> None:
    vector = TERMCHAT[name]
    psk = ticket.derive_psk(vector["password"], unhex(vector["key"]))
    assert psk.hex() == vector["psk"]


def test_a_password_is_normalised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticket, "scrypt", lambda password, salt: password + salt)
    composed = ticket.derive_psk("caf\xe9", KEY)
    assert composed == "caf\xe9".encode() + b"termchat.v1 psk\0" + KEY
    assert ticket.derive_psk("cafe\u0301", KEY) == composed


def test_a_password_that_is_no_text_is_refused() -> None:
    with pytest.raises(UsageError, match="password"):
        ticket.derive_psk("caf\udce9", KEY)


def test_room_and_server_ids_are_the_vectors() -> None:
    vector = TERMCHAT["room"]
    assert ticket.room_id(unhex(vector["key"]), vector["room_name"]).hex() == vector["room_id"]
    assert ticket.server_id(unhex(vector["key"])) == vector["server_id"]
    assert ticket.room_id(KEY, "den") != ticket.room_id(KEY, "")


def test_peer_keys_are_the_vector() -> None:
    vector = TERMCHAT["p2p"]
    keys = ticket.peer_keys(ticket.parse_fernet_key(vector["fernet_key"]))
    assert keys.static_private.hex() == vector["static_private"]
    assert keys.psk.hex() == vector["psk"]
    assert keys.secret.hex() == vector["secret"]
    assert RelayKey.from_private(keys.static_private).public.hex() == vector["key"]


@pytest.mark.parametrize("text", ["", "=", "AAAA", TEXT, "*" * 43, "A" * 42 + "B", "é" * 43])
def test_a_shared_key_is_32_bytes(text: str) -> None:
    with pytest.raises(UsageError, match="32 bytes"):
        ticket.parse_fernet_key(text)
    with pytest.raises(UsageError, match="32 bytes"):
        ticket.peer_keys(b"short")


@pytest.mark.parametrize(
    ("tail", "host", "port"),
    [
        ("@example.org", "example.org", None),
        ("@example.org:443", "example.org", 443),
        ("@127.0.0.1:1", "127.0.0.1", 1),
        ("@my_host-2", "my_host-2", None),
        ("@[::1]", "::1", None),
        ("@[::1]:65535", "::1", 65535),
        ("@::1", "::1", None),
        ("@2001:db8::2:443", "2001:db8::2:443", None),
        ("@[fe80::1%eth0]:9", "fe80::1%eth0", 9),
    ],
)
def test_an_address_is_parsed(tail: str, host: str, port: int | None) -> None:
    assert ticket.parse(TEXT + tail) == Ticket(KEY, None, host, port)
    whole = Ticket(KEY, SECRET, host, port)
    assert ticket.parse(f" {TEXT}.{SECRET_TEXT}{tail}\n") == whole
    assert ticket.parse(ticket.encode(whole)) == whole


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "KEY is missing."),
        ("@host", "KEY is missing."),
        (TEXT[:40], "KEY is incomplete: 40 of 44 characters."),
        (TEXT + "AB", "KEY is too long: 46 characters instead of 44."),
        (TEXT[:12] + "+" + TEXT[13:], "KEY has a foreign character at position 13. Copy it again."),
        (TEXT[:12] + "é" + TEXT[13:], "KEY has a foreign character at position 13. Copy it again."),
        (TEXT[:12] + " " + TEXT[13:], "KEY is incomplete: 43 of 44 characters."),
        (f'"{TEXT[:40]}"', "KEY is incomplete: 40 of 44 characters."),
        (f"<{TEXT[:-1]}4>", "KEY is mistyped: its check does not match. Copy it again."),
        (f"{TEXT}@exam ple.org", "HOST has a blank in it. Copy KEY again."),
        (f"{TEXT}@h :1719", "HOST has a blank in it. Copy KEY again."),
        ("A" + TEXT[1:], "KEY is mistyped: its check does not match. Copy it again."),
        (TEXT[:-1] + "4", "KEY is mistyped: its check does not match. Copy it again."),
        (TEXT + ".", "SECRET is missing."),
        (TEXT + ".abc", "SECRET is incomplete: 3 of 22 characters."),
        (TEXT + "." + SECRET_TEXT + "AA", "SECRET is too long: 24 characters instead of 22."),
        (TEXT + "." + SECRET_TEXT[:-1] + "B", "SECRET is mistyped. Copy it again."),
        (
            TEXT + "." + SECRET_TEXT + ".x",
            "SECRET has a foreign character at position 23. Copy it again.",
        ),
    ],
)
def test_a_mistyped_ticket_is_explained(text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        ticket.parse(text)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    "address",
    [
        "", ":1", "a/b", "a@b", "[::1", "[::1]x", "[h]:1", "[]", "1:2:3",
        "::1%", "::1%a/b", "::g", "é.example", "h" * 254, "[127.0.0.1]", "[fe80::1%\n]",
    ],
)  # fmt: skip
def test_a_malformed_host_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="HOST is malformed"):
        ticket.parse(f"{TEXT}@{address}")


@pytest.mark.parametrize("port", ["", "0", "65536", "x", "-1", "+1", "1_0", "²", "٣", "9" * 9])
def test_a_malformed_port_is_refused(port: str) -> None:
    for host in ("host", "[::1]"):
        with pytest.raises(UsageError, match=r"^PORT is a number from 1 to 65535\.$"):
            ticket.parse(f"{TEXT}@{host}:{port}")


AT_HOST = f"{TEXT}@chat.example.org:1719"
WHOLE = f"{TEXT}.{SECRET_TEXT}@chat.example.org:1719"


@pytest.mark.parametrize("plain", [AT_HOST, WHOLE])
@pytest.mark.parametrize(
    "added",
    [
        '"{}"', "'{}'", "`{}`", "<{}>", "({})", "[{}]", "\u201c{}\u201d", "\u201e{}\u201c",
        "\xab{}\xbb", "**{}**", "\ufeff{}", "{}\u200b", "\xa0{}\xa0", "{},", "{}.", "{}!",
        "Key: {}",
        "Join with: .venv/bin/python client.py {} --username NAME",
        "Join with: '/a b/python' client.py '{}'",
        "export TERMCHAT_KEY={}", "mailto:{}", "{0}<mailto:{0}>", "[{0}](mailto:{0})",
        "> {}", "> > {}\n", "Here you are:\n{}\nSee you there, Bea", "{} (my relay)", "{} thanks",
        "Hello Beatrice\n{}", "{}\n\n-- \nace",
    ],
)  # fmt: skip
def test_what_stands_around_a_ticket_is_taken_away(plain: str, added: str) -> None:
    assert ticket.parse(added.format(plain)) == ticket.parse(plain)


@pytest.mark.parametrize("end", ["\n", "\r\n", "=\n", "=\r\n", "\n> ", "\n  ", "\u2028"])
def test_a_ticket_may_be_wrapped_anywhere(end: str) -> None:
    for at in range(1, len(WHOLE)):
        assert ticket.parse(WHOLE[:at] + end + WHOLE[at:]) == ticket.parse(WHOLE)
    every_9 = end.join(WHOLE[at : at + 9] for at in range(0, len(WHOLE), 9))
    assert ticket.parse(every_9) == ticket.parse(WHOLE)


def test_blanks_in_and_around_a_key() -> None:
    for wrapped in ("Key: {}\n{}", "Join with: a client.py {}\n{}", "a client.py {}\n{} --plain"):
        for at in (3, 9, 43, 50, 75, 80, len(WHOLE) - 1):
            assert ticket.parse(wrapped.format(WHOLE[:at], WHOLE[at:])) == ticket.parse(WHOLE)
    groups = " ".join(TEXT[at : at + 4] for at in range(0, 44, 4))
    assert ticket.parse(groups) == Ticket(KEY)
    assert ticket.parse(f"{groups} . {SECRET_TEXT} @ h") == Ticket(KEY, SECRET, "h")
    assert ticket.parse(f"\t{TEXT}\u2009@h\r\n") == Ticket(KEY, None, "h")


@given(st.binary(min_size=32, max_size=32).filter(lambda key: not has_small_order(key)))
def test_dashes_that_a_word_processor_made(key: bytes) -> None:
    text = ticket.key_text(key)
    assert ticket.parse(text.replace("-", "\u2013")).key == key
    if "---" not in text and ("--" in text) != ("-" in text.replace("--", "")):
        assert ticket.parse(text.replace("--", "\u2014").replace("-", "\u2014")).key == key


@pytest.mark.parametrize(
    "text", [f"{TEXT}.", f"{TEXT}. ", f"<{TEXT}.>", f"{TEXT}.{SECRET_TEXT[:9]}"]
)
def test_a_secret_is_never_lost_on_the_way(text: str) -> None:
    # Who joined without it would trust whom the relay likes.
    with pytest.raises(UsageError, match="SECRET"):
        ticket.parse(text)


def test_two_tickets_are_none() -> None:
    other = ticket.key_text(bytes(31) + b"\x40")
    with pytest.raises(UsageError):
        ticket.parse(f"old: {TEXT}@h new: {other}@h")


def test_a_shared_key_in_quotes_or_wrapped() -> None:
    text = TERMCHAT["p2p"]["fernet_key"]
    for pasted in (f'"{text}"', f"\ufeff{text}\n", f"{text[:20]}\r\n{text[20:]}", f"<{text}>"):
        assert ticket.parse_fernet_key(pasted) == ticket.parse_fernet_key(text)


@given(st.text() | st.text("AZaz09-_.@:[]", max_size=100))
def test_any_text_is_a_ticket_or_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        ticket.parse(text)


@given(st.integers(0, 43), st.sampled_from("ABYZaz09-_"))
def test_one_wrong_character_never_gives_the_same_key_nor_shows_it(at: int, char: str) -> None:
    mistyped = TEXT[:at] + char + TEXT[at + 1 :]
    if mistyped == TEXT:
        return
    # The check byte misses one typing error in 256; that gives another key.
    with contextlib.suppress(UsageError):
        assert ticket.parse(mistyped).key != KEY
    with pytest.raises(UsageError) as caught:
        ticket.parse(mistyped + ".*")
    assert mistyped[:8] not in str(caught.value)
    assert mistyped[-8:] not in str(caught.value)


@given(
    st.binary(min_size=32, max_size=32).filter(lambda key: not has_small_order(key)),
    st.none() | st.binary(min_size=16, max_size=16),
)
def test_a_ticket_survives_its_text(key: bytes, secret: bytes | None) -> None:
    text = ticket.encode(Ticket(key, secret, "host", 9))
    assert ticket.parse(text) == Ticket(key, secret, "host", 9)
    assert len(ticket.key_text(key)) == 44


def test_secrets_do_not_show() -> None:
    for value in (Ticket(KEY, SECRET), PeerKeys(KEY, KEY, SECRET)):
        assert repr(value).startswith("<common.crypto.ticket.")
