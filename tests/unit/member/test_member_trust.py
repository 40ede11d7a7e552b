"""Whom we seal to and show: PROTOCOL.md 6.1."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from common.codec import base64url
from common.crypto import card as cards
from common.crypto.card import Card
from common.crypto.primitives import CardKey
from common.errors import FileError
from common.member.trust import TRUSTED, Grade, Pin, Pins, Standing, judge
from tests.unit.member.table import ROOM_ID, TODAY, identity

SERVER = "1THkAr-xDBeia2AN8a65y2"
OTHER_SERVER = "x" * 22
SECRET = bytes(range(16))
PUBLIC = CardKey.generate().public
ACE = identity("ace").public
EVE = identity("eve").public


def card(name: str = "ace", *, who: str = "ace", secret: bytes | None = None) -> Card:
    return cards.make(identity(who), bytes(16), ROOM_ID, name, PUBLIC, secret)


def pin(grade: Grade = Grade.TOFU, who: str = "ace", date: str = TODAY) -> Pin:
    return Pin(identity(who).public, grade, date)


def judged(
    pins: Pins, of: Card, *, secret: bytes | None = None, server: str = SERVER
) -> tuple[Standing, bool]:
    return judge(pins, server, of, room_id=ROOM_ID, secret=secret, today=TODAY)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "known_peers"


class TestJudge:
    def test_the_first_identity_is_pinned(self) -> None:
        pins = Pins(None)
        assert judged(pins, card()) == (Standing.FIRST_SEEN, True)
        assert pins.find(SERVER, "ace") == pin()
        assert judged(pins, card()) == (Standing.FIRST_SEEN, False)

    def test_another_identity_has_changed(self) -> None:
        pins = Pins(None)
        judged(pins, card())
        assert judged(pins, card(who="eve")) == (Standing.CHANGED, False)
        assert judged(pins, card("ACE", who="eve")) == (Standing.CHANGED, False)
        assert pins.find(SERVER, "ace") == pin()
        # On another server it is somebody else's business.
        assert judged(pins, card(who="eve"), server=OTHER_SERVER) == (Standing.FIRST_SEEN, True)

    def test_a_tag_never_overrides_a_pin(self) -> None:
        pins = Pins(None)
        judged(pins, card())
        changed = judged(pins, card(who="eve", secret=SECRET), secret=SECRET)
        assert changed == (Standing.CHANGED, False)

    def test_an_invited_member(self) -> None:
        pins = Pins(None)
        assert judged(pins, card(secret=SECRET), secret=SECRET) == (Standing.INVITED, True)
        assert pins.find(SERVER, "ace") == pin(Grade.INVITED)

    @pytest.mark.parametrize("tagged_with", [None, bytes(16)])
    def test_without_the_tag_nobody_is_trusted_or_pinned(self, tagged_with: bytes | None) -> None:
        pins = Pins(None)
        assert judged(pins, card(secret=tagged_with), secret=SECRET) == (
            Standing.NOT_INVITED,
            False,
        )
        assert pins.find(SERVER, "ace") is None

    def test_without_the_tag_a_pin_does_not_help(self) -> None:
        pins = Pins(None)
        pins.add(SERVER, "ace", pin(Grade.VERIFIED))
        assert judged(pins, card(), secret=SECRET) == (Standing.NOT_INVITED, False)

    def test_a_tag_is_not_asked_for_where_no_secret_is_set(self) -> None:
        assert judged(Pins(None), card(secret=SECRET)) == (Standing.FIRST_SEEN, True)

    @pytest.mark.parametrize("grade", Grade)
    def test_the_pin_decides_the_standing(self, grade: Grade) -> None:
        pins = Pins(None)
        pins.add(SERVER, "ace", pin(grade))
        standing, is_new = judged(pins, card())
        assert standing.value in (grade.value, "first seen")
        assert standing in TRUSTED
        assert not is_new

    def test_the_best_grade_elsewhere_is_taken_over(self) -> None:
        pins = Pins(None)
        pins.add(OTHER_SERVER, "ace", pin(Grade.INVITED))
        pins.add("y" * 22, "ace", pin(Grade.VERIFIED))
        pins.add("z" * 22, "ace", pin(Grade.TOFU))
        assert pins.elsewhere("Ace", ACE) is Grade.VERIFIED
        assert judged(pins, card()) == (Standing.VERIFIED, False)
        assert pins.find(SERVER, "ace") == pin(Grade.VERIFIED)

    def test_elsewhere_is_of_the_same_name_and_identity(self) -> None:
        pins = Pins(None)
        pins.add(OTHER_SERVER, "ace", pin(Grade.VERIFIED, "eve"))
        pins.add(OTHER_SERVER, "bea", pin(Grade.VERIFIED))
        assert pins.elsewhere("ace", ACE) is None
        assert judged(pins, card()) == (Standing.FIRST_SEEN, True)

    def test_only_three_standings_are_trusted(self) -> None:
        assert set(Standing) - TRUSTED == {Standing.CHANGED, Standing.NOT_INVITED}

    def test_another_process_may_have_pinned_first(self, path: Path) -> None:
        ours, theirs = Pins(path), Pins(path)
        theirs.add(SERVER, "ace", pin(Grade.VERIFIED, "eve"))
        assert judged(ours, card()) == (Standing.CHANGED, False)
        assert judged(ours, card(who="eve")) == (Standing.VERIFIED, False)


class TestFile:
    def test_names_are_the_same_in_any_letter_case(self, path: Path) -> None:
        pins = Pins(path)
        pins.add(SERVER, "STRASSE", pin())
        assert Pins(path).find(SERVER, "straße") == pin()

    def test_what_is_written_is_read(self, path: Path) -> None:
        pins = Pins(path)
        pins.add(SERVER, "zoë", pin(Grade.INVITED))
        pins.add(OTHER_SERVER, "ace", pin(Grade.VERIFIED, "eve", "2024-02-29"))
        expected = (
            f"{SERVER} zoë {base64url(ACE)} invited {TODAY}\n"
            f"{OTHER_SERVER} ace {base64url(EVE)} verified 2024-02-29\n"
        )
        assert path.read_text("utf-8") == expected
        assert path.stat().st_mode & 0o777 == 0o600
        again = Pins(path)
        assert again.find(SERVER, "zoë") == pin(Grade.INVITED)
        assert again.find(OTHER_SERVER, "ace") == pin(Grade.VERIFIED, "eve", "2024-02-29")

    def test_a_pin_is_kept_and_only_a_person_replaces_it(self, path: Path) -> None:
        pins = Pins(path)
        assert pins.add(SERVER, "ace", pin()) == pin()
        assert pins.add(SERVER, "ace", pin(Grade.VERIFIED, "eve")) == pin()
        pins.replace(SERVER, "ace", pin(Grade.VERIFIED, "eve"))
        assert pins.find(SERVER, "ace") == pin(Grade.VERIFIED, "eve")
        assert Pins(path).find(SERVER, "ace") == pin(Grade.VERIFIED, "eve")

    def test_two_clients_lose_nothing_of_each_other(self, path: Path) -> None:
        one, two = Pins(path), Pins(path)
        one.add(SERVER, "ace", pin())
        two.add(SERVER, "bea", pin(who="bea"))
        one.replace(SERVER, "col", pin(who="col"))
        for pins in (one, Pins(path)):
            names = [name for name in ("ace", "bea", "col") if pins.find(SERVER, name)]
            assert names == ["ace", "bea", "col"]
        assert two.find(SERVER, "col") is None
        two.add(SERVER, "dan", pin(who="dan"))
        assert two.find(SERVER, "col") == pin(who="col")

    def test_memory_alone_writes_nothing(self, tmp_path: Path) -> None:
        pins = Pins(None)
        pins.replace(SERVER, "ace", pin())
        assert pins.find(SERVER, "ace") == pin()
        assert list(tmp_path.iterdir()) == []

    GOOD = f"{SERVER} ace {base64url(ACE)} tofu {TODAY}"

    @pytest.mark.parametrize(
        "line",
        [
            "",
            " ",
            GOOD + " ",
            " " + GOOD,
            GOOD.replace(" ", "  ", 1),
            GOOD.replace(" ", "\t", 1),
            GOOD + "\r",
            GOOD + " more",
            GOOD.replace("ace", "Ace"),
            GOOD.replace("ace", ""),
            GOOD.replace("tofu", "TOFU"),
            GOOD.replace("tofu", "trusted"),
            GOOD.replace(TODAY, "2026-1-2"),
            GOOD.replace(TODAY, "٢٠٢٦-01-01"),
            GOOD.replace(SERVER, SERVER[1:]),
            GOOD.replace(SERVER, "x" + SERVER),
            GOOD.replace(SERVER, "!" * 22),
            GOOD.replace(base64url(ACE), base64url(ACE[:31])),
            GOOD.replace(base64url(ACE), base64url(ACE) + "="),
            GOOD.replace(base64url(ACE), base64url(b"\1" + bytes(31))),  # small order
            GOOD.replace(base64url(ACE), base64url(ACE)[:-1] + "!"),
            GOOD + "\n" + GOOD,
            "# a comment",
        ],
    )
    def test_a_malformed_line_is_an_error(self, path: Path, line: str) -> None:
        self.write(path, f"{self.GOOD.replace('ace', 'bea')}\n{line}\n".encode())
        with pytest.raises(FileError, match=r"Line [23] of .* is malformed"):
            Pins(path)

    @pytest.mark.parametrize("data", [b"\xff\n", GOOD.encode()])
    def test_bytes_that_are_no_text_or_cut_short(self, path: Path, data: bytes) -> None:
        self.write(path, data)
        with pytest.raises(FileError):
            Pins(path)

    def test_a_name_may_hold_what_other_splitters_take_for_an_end_of_line(self, path: Path) -> None:
        self.write(path, self.GOOD.replace("ace", "a\u2028ce").encode() + b"\n")
        assert Pins(path).find(SERVER, "a\u2028ce") == pin()

    def test_an_empty_file_and_none_hold_nothing(self, path: Path) -> None:
        assert Pins(path).find(SERVER, "ace") is None
        self.write(path, b"")
        assert Pins(path).find(SERVER, "ace") is None

    @pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
    def test_others_must_not_read_it(self, path: Path) -> None:
        self.write(path, self.GOOD.encode() + b"\n")
        path.chmod(0o644)
        with pytest.raises(FileError, match="chmod 600"):
            Pins(path)

    def test_a_file_spoilt_meanwhile_changes_nothing(self, path: Path) -> None:
        pins = Pins(path)
        pins.add(SERVER, "ace", pin())
        self.write(path, b"spoilt\n")
        with pytest.raises(FileError):
            pins.add(SERVER, "bea", pin(who="bea"))
        assert path.read_bytes() == b"spoilt\n"
        assert pins.find(SERVER, "ace") == pin()
        assert pins.find(SERVER, "bea") is None

    def write(self, path: Path, data: bytes) -> None:
        path.write_bytes(data)
        path.chmod(0o600)


def test_a_pin_is_a_value() -> None:
    assert pin()._replace(date="2025-01-01") != pin()
