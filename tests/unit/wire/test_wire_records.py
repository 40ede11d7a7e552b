"""Every record survives its bytes, and nothing the table does not allow gets through."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.errors import ProtocolError
from common.wire import records
from common.wire.records import (
    CARD_BYTES,
    MAX_ERROR_BYTES,
    MAX_NOTICE_BYTES,
    RELAY,
    Answer,
    Command,
    Delivered,
    Error,
    Hello,
    Join,
    Kind,
    Member,
    MemberId,
    Reason,
    Sent,
    Seq,
    Status,
    Welcome,
    decode_delivered,
    decode_sent,
    framed,
    split,
)
from tests.unit.crypto.vectors import TERMCHAT, unhex

# PROTOCOL.md 4.1, by the letter: least and most bytes of a body, and whether `to` is 0, a member or
# either.
TO_RELAY = {
    Kind.JOIN: (64 + 16 + 8 + 8 + 1425,) * 2,
    Kind.CARD: (1425, 1425),
    Kind.LEAVE: (0, 0),
    Kind.SENDER_KEY: (1209, 1209),
    Kind.MESSAGE: (112 + 16, 16_640),
    Kind.COMMAND: (4, 4 + 512),
}
FROM_RELAY = {
    Kind.CARD: (1425, 1425),
    Kind.LEAVE: (1, 1),
    Kind.SENDER_KEY: (1209, 1209),
    Kind.MESSAGE: (112 + 16, 16_640),
    Kind.WELCOME: (16 + 4 + 1 + 8 + 32 + 2,) * 2,
    Kind.MEMBER: (4 + 1425,) * 2,
    Kind.ERROR: (2, 2 + 256),
    Kind.NOTICE: (0, 1024),
    Kind.REFUSAL: (8, 8 + 256),
    Kind.ANSWER: (6, 6 + 1024),
}
NEEDS_MEMBER = {Kind.SENDER_KEY}
NEEDS_RELAY = {Kind.JOIN, Kind.CARD, Kind.LEAVE, Kind.COMMAND}

SEQS = st.integers(0, 2**64 - 1).map(Seq)
NUMBERS = st.integers(0, 2**32 - 1).map(MemberId)


def sent(kind: int, size: int, to: int) -> bytes:
    return bytes([kind]) + to.to_bytes(4) + bytes(size)


def delivered(kind: int, size: int, to: int = 0) -> bytes:
    return bytes([kind]) + (7).to_bytes(4) + to.to_bytes(4) + bytes(16) + bytes(size)


# --- Envelopes.


@pytest.mark.parametrize("kind", TO_RELAY)
def test_what_a_client_may_send(kind: Kind) -> None:
    to = 5 if kind in NEEDS_MEMBER else 0
    least, most = TO_RELAY[kind]
    for size in {least, most}:
        record = decode_sent(sent(kind, size, to))
        assert record == Sent(kind, MemberId(to), bytes(size))
        assert record.encode() == sent(kind, size, to)
    for size in {least - 1, most + 1} - {-1}:
        with pytest.raises(ProtocolError):
            decode_sent(sent(kind, size, to))


@pytest.mark.parametrize("kind", FROM_RELAY)
def test_what_a_relay_may_send(kind: Kind) -> None:
    least, most = FROM_RELAY[kind]
    for size in {least, most}:
        record = decode_delivered(delivered(kind, size, 5))
        assert record == Delivered(kind, MemberId(7), MemberId(5), Seq(0), 0, bytes(size))
        assert record.encode() == delivered(kind, size, 5)
    for size in {least - 1, most + 1} - {-1}:
        with pytest.raises(ProtocolError):
            decode_delivered(delivered(kind, size, 0))


@pytest.mark.parametrize("kind", TO_RELAY)
def test_whom_a_client_may_send_it_to(kind: Kind) -> None:
    size = TO_RELAY[kind][0]
    assert decode_sent(sent(kind, size, 5 if kind in NEEDS_MEMBER else 0)).kind is kind
    if kind in NEEDS_MEMBER | NEEDS_RELAY:
        with pytest.raises(ProtocolError):
            decode_sent(sent(kind, size, 0 if kind in NEEDS_MEMBER else 5))
    else:
        assert kind is Kind.MESSAGE
        assert decode_sent(sent(kind, size, 5)).to == 5


@pytest.mark.parametrize("number", range(256))
def test_kinds_of_the_other_direction_and_unknown_ones(number: int) -> None:
    for table, decode, head in (
        (TO_RELAY, decode_sent, sent),
        (FROM_RELAY, decode_delivered, delivered),
    ):
        if number in table:
            continue
        for size in (0, 1, 63, 96, 1425, 1429):
            for to in (0, 5):
                with pytest.raises(ProtocolError):
                    decode(head(number, size, to))


@pytest.mark.parametrize("kind", Kind)
def test_only_mail_is_echoed_empty(kind: Kind) -> None:
    record = delivered(kind, 0, 5)
    if kind in (Kind.SENDER_KEY, Kind.MESSAGE):
        assert decode_delivered(record).body == b""
        with pytest.raises(ProtocolError):
            decode_delivered(delivered(kind, 0, 0))
    elif FROM_RELAY.get(kind, (1, 1))[0]:
        with pytest.raises(ProtocolError):
            decode_delivered(record)


@given(st.sampled_from(sorted(FROM_RELAY)), NUMBERS, NUMBERS, SEQS, SEQS, st.data())
def test_a_delivered_record_round_trips(
    kind: Kind, sender: MemberId, to: MemberId, seq: Seq, at_ms: int, data: st.DataObject
) -> None:
    least, most = FROM_RELAY[kind]
    body = data.draw(st.binary(min_size=least, max_size=min(most, least + 40)))
    record = Delivered(kind, sender, to, seq, at_ms, body)
    assert decode_delivered(record.encode()) == record


@given(
    st.binary(max_size=200)
    | st.tuples(st.integers(0, 14), st.binary(max_size=120)).map(
        lambda pair: bytes([pair[0]]) + pair[1]
    )
)
def test_any_bytes_are_a_record_or_an_error(data: bytes) -> None:
    for decode in (decode_sent, decode_delivered):
        try:
            record: Sent | Delivered = decode(data)
        except ProtocolError:
            continue
        assert record.encode() == data


def test_the_vectors_of_the_log() -> None:
    kinds = []
    for seq, vector in enumerate(TERMCHAT["log"]["records"], 1):
        record = decode_delivered(unhex(vector["record"]))
        assert record.seq == seq
        assert record.encode() == unhex(vector["record"])
        kinds.append(record.kind)
    assert kinds == [Kind.CARD, Kind.CARD, Kind.MESSAGE, Kind.LEAVE]


# --- Frames.


RECORDS = st.lists(st.binary(min_size=1, max_size=50), max_size=8)


@given(RECORDS)
def test_a_frame_splits_into_what_was_framed(parts: list[bytes]) -> None:
    assert list(split(b"".join(map(framed, parts)))) == parts


@given(RECORDS, st.binary(min_size=1, max_size=40), st.data())
def test_a_frame_cut_anywhere_is_an_error_after_its_whole_records(
    parts: list[bytes], last: bytes, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(1, len(last) + 1))
    frame = b"".join(map(framed, parts)) + framed(last)[:cut]
    whole = split(frame)
    assert list(itertools.islice(whole, len(parts))) == parts
    with pytest.raises(ProtocolError):
        next(whole)


@given(RECORDS)
def test_a_record_of_no_length_is_an_error(parts: list[bytes]) -> None:
    with pytest.raises(ProtocolError):
        list(split(b"".join(map(framed, parts)) + b"\0\0"))


def test_a_frame_may_hold_nothing() -> None:
    assert list(split(b"")) == []


@given(st.binary(max_size=100))
def test_any_bytes_split_or_do_not(data: bytes) -> None:
    try:
        parts = list(split(data))
    except ProtocolError:
        return
    assert b"".join(map(framed, parts)) == data


# --- Bodies.


HELLO = Hello(bytes(range(16)), bytes(range(32)), "", "ace")


class TestHello:
    def test_the_vector(self) -> None:
        data = unhex(TERMCHAT["handshake"]["hello"])
        hello = Hello.decode(data)
        card = TERMCHAT["cards"][0]
        assert (hello.username, hello.room) == ("ace", "")
        assert hello.session == unhex(card["session"])
        assert hello.identity == unhex(card["identity"])
        assert hello.encode() == data

    @pytest.mark.parametrize("room", ["", "team", "zoë", "x" * 32])
    @pytest.mark.parametrize("username", ["ace", "Zoë", "x" * 32, "ж" * 32])
    def test_round_trip(self, room: str, username: str) -> None:
        hello = HELLO._replace(room=room, username=username)
        assert len(hello.encode()) == records.HELLO_BYTES == 146
        assert Hello.decode(hello.encode()) == hello

    @pytest.mark.parametrize("room", ["lobby", "Team", "a b", "e\u0301", "LOBBY"])
    def test_a_room_it_cannot_name(self, room: str) -> None:
        with pytest.raises(ProtocolError):
            Hello.decode(HELLO._replace(room=room).encode())

    @pytest.mark.parametrize("username", ["", "a b", "a\n", "-", "aж", "x" * 33, "\u202eace"])
    def test_a_username_it_cannot_name(self, username: str) -> None:
        with pytest.raises(ProtocolError):
            Hello.decode(HELLO._replace(username=username).encode())

    @pytest.mark.parametrize("at", [48, 49, 80, 81, 85, 145])
    def test_length_and_padding(self, at: int) -> None:
        data = bytearray(HELLO.encode())
        data[at] = 0xFF
        with pytest.raises(ProtocolError):
            Hello.decode(bytes(data))

    @given(
        st.binary(max_size=160)
        | st.binary(min_size=98, max_size=98).map(lambda tail: HELLO.encode()[:48] + tail)
    )
    @example(HELLO.encode()[:-1])
    @example(HELLO.encode() + b"\0")
    def test_any_bytes(self, data: bytes) -> None:
        try:
            hello = Hello.decode(data)
        except ProtocolError:
            return
        assert hello.encode() == data


def cards() -> st.SearchStrategy[bytes]:
    return st.binary(min_size=8, max_size=8).map(lambda start: start.ljust(CARD_BYTES, b"\1"))


@given(
    st.binary(min_size=64, max_size=64), st.binary(min_size=16, max_size=16), SEQS, SEQS, cards()
)
def test_join_round_trips(auth: bytes, log_id: bytes, room: Seq, mail: Seq, card: bytes) -> None:
    join = Join(auth, log_id, room, mail, card)
    if join.is_fresh and (room or mail):
        with pytest.raises(ProtocolError):
            Join.decode(join.encode())
    else:
        assert Join.decode(join.encode()) == join


def test_a_fresh_join_names_no_seq() -> None:
    fresh = Join(bytes(64), bytes(16), Seq(0), Seq(0), bytes(CARD_BYTES))
    assert fresh.is_fresh
    assert Join.decode(fresh.encode()) == fresh
    for wrong in (fresh._replace(room_seq=Seq(1)), fresh._replace(mail_seq=Seq(1))):
        with pytest.raises(ProtocolError):
            Join.decode(wrong.encode())


@given(
    st.binary(min_size=16, max_size=16),
    NUMBERS,
    st.booleans(),
    SEQS,
    st.binary(min_size=32, max_size=32),
    st.integers(0, 65_535),
)
def test_welcome_round_trips(
    log_id: bytes, number: MemberId, is_resumed: bool, seq: Seq, h: bytes, count: int
) -> None:
    welcome = Welcome(log_id, number, is_resumed, seq, h, count)
    data = welcome.encode()
    assert len(data) == records.WELCOME_BYTES == 63
    assert Welcome.decode(data) == welcome
    for flag in (2, 255):
        with pytest.raises(ProtocolError):
            Welcome.decode(data[:20] + bytes([flag]) + data[21:])


@given(NUMBERS, cards())
def test_member_round_trips(number: MemberId, card: bytes) -> None:
    member = Member(number, card)
    assert Member.decode(member.encode()) == member


@given(st.integers(0, 2**32 - 1), st.sampled_from(Status), st.text(max_size=2_000))
def test_an_answer_round_trips_cut_to_what_it_may_hold(
    order: int, status: Status, text: str
) -> None:
    body = Answer(order, status, text).encode()
    assert len(body) <= FROM_RELAY[Kind.ANSWER][1]
    found = Answer.decode(body)
    assert (found.order, found.status) == (order, status)
    assert text.encode("utf-8", "replace").decode().startswith(found.text)
    assert found.is_last is (status is not Status.CONTINUE)


def test_an_answer_has_a_status_that_exists_and_text() -> None:
    for body in (bytes(4) + b"\x00\xc9", bytes(6), bytes(4) + b"\x00\xc8\xff"):
        with pytest.raises(ProtocolError):
            Answer.decode(body)


@given(st.integers(0, 2**32 - 1), st.text(max_size=100))
def test_a_command_round_trips_and_shows_nothing_of_its_text(order: int, text: str) -> None:
    command = Command(order, text)
    kept = text.encode("utf-8", "replace").decode()
    assert Command.decode(command.encode()) == Command(order, kept)
    assert repr(command) == f"Command({order})"


@given(st.binary(max_size=1700))
@example(bytes(1520))
@example(bytes(63))
@example(bytes(1429))
def test_any_body_decodes_or_does_not(data: bytes) -> None:
    for body in (Join, Welcome, Member, Error):
        try:
            value = body.decode(data)
        except ProtocolError:
            continue
        assert value.encode() == data or (body is Error and len(data) > 2 + MAX_ERROR_BYTES)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", ""),
        ("gone", "gone"),
        ("x" * 300, "x" * 256),
        ("é" * 200, "é" * 128),
        ("x" + "é" * 200, "x" + "é" * 127),
        ("\ud800", "?"),
    ],
)
def test_a_failure_is_cut_to_whole_characters(text: str, kept: str) -> None:
    body = Error(408, text).encode()
    assert Error.decode(body) == Error(408, kept)
    assert decode_delivered(records.from_relay(Kind.ERROR, body).encode()).body == body


@given(st.text(), st.integers(0, 40))
def test_cut_text_is_text(text: str, size: int) -> None:
    data = records.cut_utf8(text, size)
    assert len(data) <= size
    assert text.encode("utf-8", "replace").decode().startswith(data.decode())


def test_texts_that_are_none() -> None:
    with pytest.raises(ProtocolError):
        Error.decode(b"\1\x90\xff")
    with pytest.raises(ProtocolError):
        records.notice_text(b"\xff")
    assert records.notice_text("é".encode()) == "é"
    assert records.notice_text(bytes(MAX_NOTICE_BYTES)) == "\0" * MAX_NOTICE_BYTES


def test_reasons_and_seen() -> None:
    assert [records.leave_reason(bytes([n])) for n in range(4)] == list(Reason)
    with pytest.raises(ProtocolError):
        records.leave_reason(b"\4")
    assert records.message_seen(bytes(8) + (2**40).to_bytes(8) + bytes(112)) == 2**40
    assert records.from_relay(Kind.NOTICE, b"x") == Delivered(
        Kind.NOTICE, RELAY, RELAY, Seq(0), 0, b"x"
    )
