"""Identity and pins on disk: shared, private, or not at all (UX.md 8)."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from common.crypto.identity import load_identity
from common.member.trust import Pins
from tests.e2e.harness import House
from tests.e2e.test_e2e_refusals import refused


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_ten_clients_of_one_home_are_one_person(house: House) -> None:
    relay = house.relay()
    home = house.path / "deep" / "home"
    names = [f"me{number}" for number in range(10)]
    clients = [house.lines(relay, name, "--home", str(home)) for name in names]
    for client in clients:
        client.wait_for("You are connected")
    witness = house.bot(relay, "witness")
    for client in clients:
        client.wait_for("witness joined")
        client.end_input()
    assert {peer.card.identity for peer in witness.conversation.peers.values()} == {
        load_identity(home / "identity").public
    }
    assert [client.ended() for client in clients] == [0] * 10
    known = home / "known_peers"
    Pins(known)  # raises if it is malformed
    rows = [line.split(" ") for line in known.read_text().splitlines()]
    assert sorted(row[1] for row in rows) == sorted([*names, "witness"])
    assert len({row[2] for row in rows if row[1] != "witness"}) == 1
    assert mode(home) == 0o700
    assert {mode(path) for path in home.iterdir()} == {0o600}
    left = {path.name.removesuffix(".lock") for path in home.iterdir()}
    assert left <= {"identity", "known_peers", "relays"}


def test_an_identity_that_others_can_read_is_refused(house: House) -> None:
    relay = house.relay()
    first = house.lines(relay, "ace", stdin=subprocess.DEVNULL)
    assert first.ended() == 0
    home = house.path / "home-ace"
    before = (home / "identity").read_bytes()
    for path, rights, remedy in (
        (home / "identity", 0o644, "600"),
        (home / "identity", 0o620, "600"),
        (home, 0o750, "700"),
    ):
        kept = mode(path)
        path.chmod(rights)
        sentence = f"Others can read {path}. Run: chmod {remedy} {path}"
        assert refused(house, relay, "ace") == (1, sentence)
        path.chmod(kept)
    assert (home / "identity").read_bytes() == before


def test_a_damaged_file_is_refused(house: House) -> None:
    relay = house.relay()
    first = house.lines(relay, "ace", stdin=subprocess.DEVNULL)
    assert first.ended() == 0
    home = house.path / "home-ace"
    known = home / "known_peers"
    known.write_bytes(b"nonsense \x1b[2J\n")
    known.chmod(0o600)
    code, sentence = refused(house, relay, "ace")
    assert code == 1
    assert sentence == f"Line 1 of {known} is malformed. Mend or remove it."
    (home / "identity").write_bytes(b"nonsense")
    code, sentence = refused(house, relay, "ace")
    assert code == 1
    assert str(home / "identity") in sentence


def test_ephemeral_writes_nothing(house: House) -> None:
    relay = house.relay()
    before = set(house.path.rglob("*"))
    ace = house.lines(relay, "ace", "--ephemeral")
    ace.wait_for("You are connected")
    house.bot(relay, "bea")
    ace.wait_for("bea joined")
    ace.end_input()
    assert ace.ended() == 0
    assert set(house.path.rglob("*")) == before


@pytest.mark.parametrize(
    ("env", "place"),
    [
        ({}, ".local/state/termchat"),
        ({"XDG_STATE_HOME": "state"}, "state/termchat"),
        ({"XDG_STATE_HOME": "state", "TERMCHAT_HOME": "mine"}, "mine"),
    ],
)
def test_where_home_is(house: House, env: dict[str, str], place: str) -> None:
    relay = house.relay()
    absolute: dict[str, str | None] = {
        name: str(house.path / folder) for name, folder in env.items()
    }
    ace = house.lines(relay, "ace", stdin=subprocess.DEVNULL, homeless=True, env=absolute)
    assert ace.ended() == 0
    assert [path.parent for path in house.path.rglob("identity")] == [house.path / place]


def test_a_changed_key_is_told_and_not_shown_until_trusted(house: House) -> None:
    relay = house.relay()
    ace = house.screen(relay, "ace")
    ace.wait_for("Connected to lobby")
    real = house.bot(relay, "bea")
    real.say("the real one")
    ace.wait_for("the real one")
    real.leave()
    ace.wait_for("bea left")
    false = house.bot(relay, "bea")
    ace.wait_for("bea's identity key has CHANGED")
    ace.wait_for("1 changed key: bea")
    false.say("the false one")
    ace.wait_for("A message from bea was hidden.")
    assert not any("the false one" in row for row in ace.display)
    ace.say("not for the false one")
    ace.say("/trust bea")
    ace.wait_for("Type bea again to trust the new key:")
    ace.say("bea")
    ace.wait_for("bea is trusted with the new key.")
    ace.wait_for("1 changed key", gone=True)
    false.say("trusted now")
    ace.wait_for("trusted now")
    ace.say("for the new one")
    house.until(lambda: "for the new one" in false.heard)
    assert "not for the false one" not in false.heard


def test_a_passphrase_encrypts_the_identity_and_is_asked_for(house: House) -> None:
    relay = house.relay()
    ace = house.screen(relay, "ace", "--passphrase")
    ace.wait_for("New passphrase:")
    ace.type("hunter2\r")
    ace.wait_for("The same again:")
    ace.type("hunter2\r")
    ace.wait_for("Connected to lobby as ace.")
    path = house.path / "home-ace" / "identity"
    kept = path.read_bytes()
    assert b"ENCRYPTED" in kept
    ace.type(b"\x04")
    assert ace.ended() == 0
    assert b"hunter2" not in ace.raw
    # From now on it is asked for, and a wrong one is told from a right one.
    ace = house.screen(relay, "ace")
    ace.wait_for("Passphrase:")
    ace.type("hunter3\r")
    assert ace.ended() == 1
    assert "The passphrase is wrong, or the file is damaged." in ace.raw.decode()
    # Who cannot be asked needs a file.
    lines = house.lines(relay, "ace")
    assert lines.ended() == 1
    assert lines.errors[-1].endswith("Give it with --passphrase-file.")
    given = house.path / "pass"
    given.write_text("hunter2\n")
    given.chmod(0o600)
    lines = house.lines(relay, "ace", "--passphrase-file", str(given))
    lines.wait_for("You are connected as `ace`.")
    lines.end_input()
    assert lines.ended() == 0
    assert path.read_bytes() == kept
