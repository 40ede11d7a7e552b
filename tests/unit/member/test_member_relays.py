"""What is kept of relays is a private file, and forgotten when a person says so."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import FileError
from common.member.relays import MOST_RELAYS, Keeper, Kept, Relays

BEA = Kept("bea", "den", "KEY@host:5", "wss://host/", was_asked=True)


@pytest.fixture
def relays(tmp_path: Path) -> Relays:
    return Relays(str(tmp_path / "relays"))


def test_what_is_noted_is_kept_the_last_first(relays: Relays) -> None:
    assert relays.all() == {}
    relays.note("one", BEA)
    relays.note("two", Kept("ace"))
    relays.note("one", BEA._replace(username="zoë"))
    assert list(relays.all().items()) == [
        ("one", BEA._replace(username="zoë")),
        ("two", Kept("ace")),
    ]
    assert stat.S_IMODE(Path(relays.path).stat().st_mode) == 0o600


def test_what_is_kept_already_is_not_written_again(relays: Relays) -> None:
    relays.note("one", BEA)
    before = Path(relays.path).stat().st_ino
    relays.note("one", BEA)
    assert Path(relays.path).stat().st_ino == before


def test_the_oldest_go(relays: Relays) -> None:
    for number in range(MOST_RELAYS + 2):
        relays.note(str(number), BEA)
    assert len(relays.all()) == MOST_RELAYS
    assert "1" not in relays.all()
    assert "2" in relays.all()


def test_forgetting(relays: Relays) -> None:
    assert relays.forget("one") is None
    assert not Path(relays.path).exists()
    relays.note("one", BEA)
    relays.note("two", Kept("ace"))
    assert relays.forget("one") == BEA
    assert relays.all() == {"two": Kept("ace")}
    assert "KEY" not in Path(relays.path).read_text()


@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.text(max_size=5) | st.just("bea"),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["relays", *Kept._fields, "server_id"]), inner)
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_file_is_read_or_refused_in_a_sentence(data: bytes) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory, "relays")
        path.write_bytes(data)
        path.chmod(0o600)
        told = ""
        try:
            found = Relays(str(path)).all()
        except FileError as problem:
            told, found = str(problem), {}
        assert told in ("", f"{path} is damaged. Mend or remove it.")
        assert all(isinstance(kept, Kept) for kept in found.values())


def test_a_file_that_others_can_read_is_refused(relays: Relays) -> None:
    relays.note("one", BEA)
    Path(relays.path).chmod(0o644)
    with pytest.raises(FileError, match="Others can read"):
        relays.all()


@pytest.mark.parametrize("answer", [None, True, False])
def test_a_key_is_kept_only_if_somebody_said_so(relays: Relays, answer: bool | None) -> None:
    Keeper(relays, "one").joined(BEA, keeps_key=answer)
    kept = relays.all()["one"]
    assert (kept.username, kept.room) == ("bea", "den")
    assert (kept.key, kept.url) == ((BEA.key, BEA.url) if answer else ("", ""))
    assert kept.was_asked == (answer is not None)
    # Later nobody is asked: it stays as it was said, with the address that worked.
    Keeper(relays, "one").joined(BEA._replace(key="KEY@other"), keeps_key=None)
    assert relays.all()["one"].key == ("KEY@other" if answer else "")
    assert relays.all()["one"].was_asked == (answer is not None)


def test_what_was_forgotten_is_kept_no_more(relays: Relays) -> None:
    keeper = Keeper(relays, "one")
    keeper.joined(BEA, keeps_key=True)
    assert keeper.forget() == BEA
    keeper.joined(BEA, keeps_key=True)  # the connection came back
    assert relays.all() == {}
    assert keeper.forget() is None


def test_without_a_file_nothing_is_kept() -> None:
    keeper = Keeper(None, "one")
    keeper.joined(BEA, keeps_key=True)
    assert keeper.forget() is None


def test_a_key_shows_nowhere() -> None:
    assert "KEY" not in repr(BEA)
