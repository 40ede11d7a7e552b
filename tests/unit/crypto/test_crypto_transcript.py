from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.crypto.transcript import KEPT_RECORDS, Transcript
from tests.unit.crypto.vectors import ACE, ROOM_ID, TERMCHAT, ZOE, unhex

LOG = TERMCHAT["log"]
LOG_ID = unhex(LOG["log_id"])
RECORDS = [unhex(entry["record"]) for entry in LOG["records"]]


def _replay(transcript: Transcript, first: int = 0) -> list[str]:
    """Process the vector's records from `first` on; return H after each."""
    hashes = []
    for number, record in enumerate(RECORDS[first:], first):
        if number == 0:
            transcript.join(1, ACE.card.hash)
        elif number == 1:
            transcript.join(2, ZOE.card.hash)
        elif number == 3:
            transcript.leave(2)
        transcript.add(record)
        hashes.append(transcript.h.hex())
    return hashes


def test_a_log_is_the_vector() -> None:
    transcript = Transcript.begin(ROOM_ID, LOG_ID)
    assert (transcript.seq, transcript.h.hex()) == (0, LOG["H0"])
    expected = [entry["H"] for entry in LOG["records"]]
    assert _replay(transcript) == expected
    assert transcript.seq == 4
    assert [transcript.at(seq) for seq in range(-1, 6)] == [
        None,
        *map(unhex, [LOG["H0"], *expected]),
        None,
    ]


def test_a_joiner_agrees_with_those_before_it() -> None:
    members = {1: ACE.card.hash}
    joiner = Transcript(1, unhex(LOG["records"][0]["H"]), members)
    members.clear()  # the caller's dict is its own
    assert _replay(joiner, 1) == [entry["H"] for entry in LOG["records"][1:]]
    assert joiner.at(0) is None
    assert joiner.at(1) == unhex(LOG["records"][0]["H"])


def test_a_member_hidden_from_a_joiner_or_invented_yields_another_h() -> None:
    for members in ({}, {1: ZOE.card.hash}, {2: ACE.card.hash}, {1: ACE.card.hash, 9: bytes(32)}):
        joiner = Transcript(1, unhex(LOG["records"][0]["H"]), members)
        joiner.join(2, ZOE.card.hash)
        joiner.add(RECORDS[1])
        assert joiner.h.hex() != LOG["records"][1]["H"]


@pytest.mark.parametrize(
    ("room_id", "log_id"), [(ROOM_ID, bytes(16)), (bytes(32), LOG_ID)], ids=["log", "room"]
)
def test_another_log_or_room_has_other_hashes(room_id: bytes, log_id: bytes) -> None:
    hashes = _replay(Transcript.begin(room_id, log_id))
    assert not {entry["H"] for entry in LOG["records"]} & set(hashes)


def test_a_record_dropped_and_the_rest_renumbered_yields_another_h() -> None:
    honest = Transcript(2, bytes(32), {1: bytes(32)})
    shown = Transcript(2, bytes(32), {1: bytes(32)})
    for record in (b"one", b"two"):
        honest.add(record)
    shown.add(b"two")
    assert shown.h != honest.h
    assert shown.h != honest.at(3)


def test_h_is_kept_for_4352_records_and_the_point_before() -> None:
    transcript = Transcript(10, b"start", {})
    for _ in range(KEPT_RECORDS):
        transcript.add(b"")
    assert transcript.seq == 10 + 4352
    assert transcript.at(10) == b"start"
    transcript.add(b"")
    assert transcript.at(10) is None
    assert transcript.at(11) is not None
    assert transcript.at(transcript.seq) == transcript.h
    assert transcript.at(transcript.seq + 1) is None


steps = st.one_of(
    st.tuples(st.just("join"), st.integers(1, 5), st.binary(min_size=32, max_size=32)),
    st.tuples(st.just("leave"), st.integers(1, 5), st.just(b"")),
    st.tuples(st.just("add"), st.just(0), st.binary(max_size=40)),
)


@given(st.lists(steps, max_size=20))
def test_h_is_what_the_protocol_says(taken: list[tuple[str, int, bytes]]) -> None:
    transcript, h, members = Transcript(0, bytes(32), {}), bytes(32), dict[int, bytes]()
    for step, number, data in taken:
        if step == "join":
            transcript.join(number, data)
            members[number] = data
        elif step == "leave" and number in members:
            transcript.leave(number)
            del members[number]
        else:
            listed = b"".join(n.to_bytes(4) + members[n] for n in sorted(members))
            m = hashlib.sha256(b"termchat.v1 members\0" + listed).digest()
            h = hashlib.sha256(h + m + data).digest()
            transcript.add(data)
        assert transcript.h == h
