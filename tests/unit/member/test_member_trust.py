"""Whom we seal to and show: PROTOCOL.md 6.1."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import files
from common.codec import base64url
from common.crypto import card as cards
from common.crypto.card import Card
from common.crypto.primitives import CardKey
from common.errors import FileError
from common.member import trust
from common.member.trust import SEAM_BYTES, TRUSTED, Grade, Pin, Pins, Standing, judge
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


def add(pins: Pins, server: str, name: str, found: Pin) -> Pin:
    """Pin a name that is met, and written down."""
    pins.meet(server, name, found)
    pins.keep(server, [name])
    kept = pins.find(server, name)
    assert kept is not None
    return kept


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
        add(pins, SERVER, "ace", pin(Grade.VERIFIED))
        assert judged(pins, card(), secret=SECRET) == (Standing.NOT_INVITED, False)

    def test_a_tag_is_not_asked_for_where_no_secret_is_set(self) -> None:
        assert judged(Pins(None), card(secret=SECRET)) == (Standing.FIRST_SEEN, True)

    @pytest.mark.parametrize("grade", Grade)
    def test_the_pin_decides_the_standing(self, grade: Grade) -> None:
        pins = Pins(None)
        add(pins, SERVER, "ace", pin(grade))
        standing, is_new = judged(pins, card())
        assert standing.value in (grade.value, "first seen")
        assert standing in TRUSTED
        assert not is_new

    def test_the_best_grade_elsewhere_is_taken_over(self) -> None:
        pins = Pins(None)
        add(pins, OTHER_SERVER, "ace", pin(Grade.INVITED))
        add(pins, "y" * 22, "ace", pin(Grade.VERIFIED))
        add(pins, "z" * 22, "ace", pin(Grade.TOFU))
        assert pins.elsewhere("Ace", ACE) is Grade.VERIFIED
        assert judged(pins, card()) == (Standing.VERIFIED, False)
        assert pins.find(SERVER, "ace") == pin(Grade.VERIFIED)

    def test_elsewhere_is_of_the_same_name_and_identity(self) -> None:
        pins = Pins(None)
        add(pins, OTHER_SERVER, "ace", pin(Grade.VERIFIED, "eve"))
        add(pins, OTHER_SERVER, "bea", pin(Grade.VERIFIED))
        assert pins.elsewhere("ace", ACE) is None
        assert judged(pins, card()) == (Standing.FIRST_SEEN, True)

    def test_only_three_standings_are_trusted(self) -> None:
        assert set(Standing) - TRUSTED == {Standing.CHANGED, Standing.NOT_INVITED}

    def test_another_process_may_have_pinned_first(self, path: Path) -> None:
        ours, theirs = Pins(path), Pins(path)
        add(theirs, SERVER, "ace", pin(Grade.VERIFIED, "eve"))
        assert judged(ours, card()) == (Standing.CHANGED, False)
        assert judged(ours, card(who="eve")) == (Standing.VERIFIED, False)


GOOD_BYTES = f"{SERVER} ace {base64url(ACE)} tofu {TODAY}\n".encode()


class TestFile:
    def test_names_are_the_same_in_any_letter_case(self, path: Path) -> None:
        pins = Pins(path)
        add(pins, SERVER, "STRASSE", pin())
        assert Pins(path).find(SERVER, "straße") == pin()

    def test_what_is_written_is_read(self, path: Path) -> None:
        pins = Pins(path)
        add(pins, SERVER, "zoë", pin(Grade.INVITED))
        add(pins, OTHER_SERVER, "ace", pin(Grade.VERIFIED, "eve", "2024-02-29"))
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
        assert add(pins, SERVER, "ace", pin()) == pin()
        assert add(pins, SERVER, "ace", pin(Grade.VERIFIED, "eve")) == pin()
        pins.replace(SERVER, "ace", pin(Grade.VERIFIED, "eve"))
        assert pins.find(SERVER, "ace") == pin(Grade.VERIFIED, "eve")
        assert Pins(path).find(SERVER, "ace") == pin(Grade.VERIFIED, "eve")

    def test_two_clients_lose_nothing_of_each_other(self, path: Path) -> None:
        one, two = Pins(path), Pins(path)
        add(one, SERVER, "ace", pin())
        add(two, SERVER, "bea", pin(who="bea"))
        one.replace(SERVER, "col", pin(who="col"))
        for pins in (one, Pins(path)):
            names = [name for name in ("ace", "bea", "col") if pins.find(SERVER, name)]
            assert names == ["ace", "bea", "col"]
        assert two.find(SERVER, "col") is None
        add(two, SERVER, "dan", pin(who="dan"))
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
            "# a comment",
        ],
    )
    def test_a_malformed_line_is_an_error(self, path: Path, line: str) -> None:
        self.write(path, f"{self.GOOD.replace('ace', 'bea')}\n{line}\n".encode())
        with pytest.raises(FileError, match=r"Line [23] of .* is malformed"):
            Pins(path)

    def test_bytes_that_are_no_text(self, path: Path) -> None:
        self.write(path, GOOD_BYTES.replace(b"ace", b"\xff"))
        with pytest.raises(FileError):
            Pins(path)

    @pytest.mark.parametrize("cut", range(1, len(GOOD)))
    def test_a_line_that_was_cut_short_is_none(self, path: Path, cut: int) -> None:
        """By a power cut, or kill -9 within a write; what is added next does not join it."""
        whole = GOOD_BYTES.replace(b"ace", b"bea")
        self.write(path, whole + self.GOOD.encode()[:cut])
        pins = Pins(path)
        assert pins.find(SERVER, "bea")
        assert pins.find(SERVER, "ace") is None
        add(pins, SERVER, "col", pin(who="col"))
        assert path.read_bytes().startswith(whole + SERVER.encode() + b" col ")
        assert Pins(path).find(SERVER, "col") == pin(who="col")

    def test_of_two_lines_for_a_name_the_later_counts(self, path: Path) -> None:
        self.write(path, GOOD_BYTES + GOOD_BYTES.replace(b"tofu", b"verified"))
        pins = Pins(path)
        assert pins.find(SERVER, "ace") == pin(Grade.VERIFIED)
        assert pins._read.counts == {SERVER: 1}

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
        add(pins, SERVER, "ace", pin())
        self.write(path, b"spoilt\n")
        with pytest.raises(FileError):
            pins.meet(SERVER, "bea", pin(who="bea"))
        assert path.read_bytes() == b"spoilt\n"
        assert pins.find(SERVER, "ace") == pin()
        assert pins.find(SERVER, "bea") is None

    def test_a_list_is_one_write(self, path: Path) -> None:
        pins = Pins(path)
        with mock.patch.object(files, "append_private", wraps=files.append_private) as append:
            for number in range(300):
                pins.meet(SERVER, f"name{number}", pin())
            assert pins.keep(SERVER, [f"name{number}" for number in range(300)])
            assert pins.keep(SERVER, ["name1", "nobody"])
        assert append.call_count == 1
        assert Pins(path).find(SERVER, "name299") == pin()

    def test_one_more_costs_a_line_however_many_are_known(self, path: Path) -> None:
        self.write(path, many(SERVER, 2_000))
        inode, size = path.stat().st_ino, path.stat().st_size
        pins = Pins(path)
        read: list[int] = []
        real = files.read_private

        def read_private(path: Path, start: int = 0) -> bytes | None:
            data = real(path, start)
            read.append(len(data or b""))
            return data

        with mock.patch.object(files, "read_private", read_private):
            add(pins, SERVER, "ace", pin())
        assert max(read) <= SEAM_BYTES
        assert (path.stat().st_ino, path.stat().st_size) == (inode, size + len(GOOD_BYTES))

    def test_a_file_that_was_edited_is_read_anew(self, path: Path) -> None:
        lines = many(SERVER, 50)
        self.write(path, lines)
        pins = Pins(path)
        kept = lines.splitlines(keepends=True)
        for edited in (b"".join(kept[1:]), lines + lines.replace(b" tofu ", b" verified "), b""):
            self.write(path, edited)
            pins.meet(SERVER, "who", pin())
            again = Pins(path)
            for number in range(50):
                assert pins.find(SERVER, f"name{number}") == again.find(SERVER, f"name{number}")

    def test_what_cannot_be_written_adds_nothing(self, path: Path) -> None:
        pins = Pins(path)
        add(pins, SERVER, "ace", pin())
        with (
            mock.patch.object(os, "fsync", side_effect=OSError(28, "No space left on device")),
            pytest.raises(FileError, match="No space left"),
        ):
            pins.replace(SERVER, "bea", pin(who="bea"))
        assert path.read_bytes() == GOOD_BYTES
        assert pins.find(SERVER, "bea") is None
        add(pins, SERVER, "bea", pin(who="bea"))
        assert Pins(path).find(SERVER, "bea")

    def test_a_file_system_without_locks_is_used_without(self, path: Path) -> None:
        no_locks = OSError(37, "No locks")
        with (
            mock.patch("fcntl.flock", side_effect=no_locks),
            mock.patch("fcntl.lockf", side_effect=no_locks),
        ):
            add(Pins(path), SERVER, "ace", pin())
        assert Pins(path).find(SERVER, "ace") == pin()

    @pytest.mark.skipif(os.name != "posix", reason="modes and links are POSIX")
    def test_nothing_is_added_where_others_read_or_where_a_link_leads(self, path: Path) -> None:
        pins = Pins(path)
        pins.meet(SERVER, "ace", pin())
        self.write(path.with_name("other"), b"")
        path.symlink_to(path.with_name("other"))
        with pytest.raises(FileError, match="is a link"):
            pins.keep(SERVER, ["ace"])
        path.unlink()
        self.write(path, b"")
        path.chmod(0o640)
        with pytest.raises(FileError, match="chmod 600"):
            pins.keep(SERVER, ["ace"])
        assert path.read_bytes() == path.with_name("other").read_bytes() == b""

    def write(self, path: Path, data: bytes) -> None:
        path.write_bytes(data)
        path.chmod(0o600)


def many(server: str, count: int) -> bytes:
    """The lines of so many names."""
    return b"".join(
        f"{server} name{number} {base64url(ACE)} tofu {TODAY}\n".encode() for number in range(count)
    )


class TestLimits:
    @pytest.fixture(autouse=True)
    def _small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(trust, "MOST_PINS", 50)
        monkeypatch.setattr(trust, "MOST_MET", 10)

    def test_a_server_has_so_many_names_and_takes_none_from_another(self, path: Path) -> None:
        path.write_bytes(many(SERVER, 48))
        path.chmod(0o600)
        pins = Pins(path)
        for name in ("bea", "col", "dan"):
            pins.meet(SERVER, name, pin())
        assert not pins.keep(SERVER, ["bea", "col", "dan"])
        kept = [bool(Pins(path).find(SERVER, name)) for name in ("bea", "col", "dan")]
        assert kept == [True, True, False]
        # It is known in this run.
        assert pins.find(SERVER, "dan") == pin()
        pins.meet(OTHER_SERVER, "friend", pin())
        assert pins.keep(OTHER_SERVER, ["friend"])
        # What a person decides has room.
        pins.replace(SERVER, "dan", pin(Grade.VERIFIED))
        assert Pins(path).find(SERVER, "dan") == pin(Grade.VERIFIED)

    def test_a_file_has_so_many_bytes_and_some_for_what_a_person_decides(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(trust, "MOST_BYTES", len(GOOD_BYTES) - 1)
        monkeypatch.setattr(files, "MAX_PRIVATE_BYTES", 3 * len(GOOD_BYTES))
        pins = Pins(path)
        assert add(pins, SERVER, "ace", pin())
        pins.meet(OTHER_SERVER, "bea", pin())
        assert not pins.keep(OTHER_SERVER, ["bea"])
        pins.replace(SERVER, "bea", pin())
        pins.replace(SERVER, "col", pin())
        with pytest.raises(FileError, match="is full"):
            pins.replace(SERVER, "dan", pin())
        assert Pins(path).find(SERVER, "col")

    @pytest.mark.parametrize("in_memory", [False, True])
    def test_what_is_forgotten_holds_in_this_run_and_is_written_no_more(
        self, path: Path, *, in_memory: bool
    ) -> None:
        pins = Pins(None if in_memory else path)
        add(pins, SERVER, "ace", pin(Grade.VERIFIED))
        add(pins, SERVER, "bea", pin(who="bea"))
        add(pins, OTHER_SERVER, "ace", pin())
        assert pins.forget(SERVER) == 2
        # Another behind a name that is known is no newcomer, whatever the relay hopes for.
        assert judged(pins, card(who="eve")) == (Standing.CHANGED, False)
        pins.meet(SERVER, "col", pin(who="col"))
        assert pins.keep(SERVER, ["ace", "bea", "col"])
        pins.replace(SERVER, "ace", pin(who="eve"))
        assert judged(pins, card(who="eve")) == (Standing.FIRST_SEEN, False)
        assert pins.forget(SERVER) == 0
        if not in_memory:
            later = Pins(path)
            assert later.find(OTHER_SERVER, "ace") == pin()
            assert [later.find(SERVER, name) for name in ("ace", "bea", "col")] == [None] * 3

    def test_another_client_notices_what_is_forgotten(self, path: Path) -> None:
        one, two = Pins(path), Pins(path)
        add(one, SERVER, "ace", pin())
        add(two, SERVER, "bea", pin(who="bea"))
        assert one.forget(SERVER) == 2
        add(two, SERVER, "col", pin(who="col"))
        assert Pins(path).find(SERVER, "ace") is None
        assert Pins(path).find(SERVER, "col") == pin(who="col")

    def test_of_those_who_were_met_the_oldest_go_first(self) -> None:
        pins = Pins(None)
        for number in range(15):
            pins.meet(SERVER, f"name{number}", pin())
        found = [number for number in range(15) if pins.find(SERVER, f"name{number}")]
        assert found == list(range(5, 15))


class Step(NamedTuple):
    """What one of several clients does."""

    client: int
    does: str
    name: str
    who: str


STEPS = st.lists(
    st.builds(
        Step,
        st.integers(0, 2),
        st.sampled_from(["meet", "keep", "replace", "restart", "cut"]),
        st.sampled_from(["ace", "bea", "col"]),
        st.sampled_from(["ace", "eve"]),
    ),
    max_size=25,
)


@given(STEPS)
def test_clients_of_one_user_agree_on_who_was_first(steps: list[Step]) -> None:
    """A kept pin changes by a person's word alone, whoever writes, and whatever is cut short."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "known_peers")
        clients = [Pins(path) for _ in range(3)]
        kept: dict[str, Pin] = {}
        for step in steps:
            pins = clients[step.client]
            match step.does:
                case "meet":
                    found = pins.meet(SERVER, step.name, pin(who=step.who))
                    assert found == kept.get(step.name, found)
                case "keep":
                    met = pins.find(SERVER, step.name)
                    pins.keep(SERVER, [step.name])
                    if met is not None:
                        kept.setdefault(step.name, met)
                case "replace":
                    kept[step.name] = pin(Grade.VERIFIED, step.who)
                    pins.replace(SERVER, step.name, kept[step.name])
                case "restart":
                    clients[step.client] = Pins(path)
                case "cut" if path.exists():
                    with path.open("ab") as file:
                        file.write(GOOD_BYTES[: len(step.name) * 7])
                case _:
                    pass
        last = Pins(path)
        assert {name: last.find(SERVER, name) for name in kept} == kept


def test_a_pin_is_a_value() -> None:
    assert pin()._replace(date="2025-01-01") != pin()
