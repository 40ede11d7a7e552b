from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from common.crypto import identity, ticket
from common.crypto.identity import Identity, RelayKey, load_identity, load_relay_key
from common.crypto.primitives import SigningKey, X25519Key, verify
from common.errors import FileError, Unauthentic, UsageError
from common.files import create_private, replace_private
from tests.unit.crypto.vectors import TERMCHAT, unhex


def test_an_identity_signs() -> None:
    seed = unhex(TERMCHAT["cards"][0]["identity_seed"])
    ace = Identity.from_seed(seed)
    assert ace.public.hex() == TERMCHAT["cards"][0]["identity"]
    assert verify(ace.public, ace.sign(b"text"), b"text")
    assert Identity.generate().public != Identity.generate().public


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "PASSPHRASE_COST", 2)


@pytest.mark.parametrize("passphrase", [None, "", "correct horse"])
def test_an_identity_survives_its_file(tmp_path: Path, passphrase: str | None) -> None:
    path = tmp_path / "identity"
    made = load_identity(path, passphrase)
    assert path.stat().st_mode & 0o777 == 0o600
    assert (b"ENCRYPTED" in path.read_bytes()) == bool(passphrase)
    assert load_identity(path, passphrase).public == made.public
    assert made.sign(b"x") == load_identity(path, passphrase).sign(b"x")


def test_a_relay_key_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "relay.key"
    made, peer = load_relay_key(path), X25519Key.generate()
    assert path.stat().st_mode & 0o777 == 0o600
    again = load_relay_key(path)
    assert again.public == made.public
    assert again.exchange(peer.public) == peer.exchange(made.public)


@pytest.mark.parametrize(
    ("kept", "given", "sentence"),
    [
        ("right", "wrong", "The passphrase is wrong, or the file is damaged."),
        ("right", None, "It needs its passphrase."),
        ("right", "", "It needs its passphrase."),
    ],
)
def test_a_passphrase_must_fit(
    tmp_path: Path, kept: str | None, given: str | None, sentence: str
) -> None:
    path = tmp_path / "identity"
    load_identity(path, kept)
    before = path.read_bytes()
    with pytest.raises(FileError) as caught:
        load_identity(path, given)
    assert str(caught.value) == f"Cannot use {path}. {sentence}"
    assert path.read_bytes() == before


def test_a_passphrase_encrypts_an_identity_that_was_plain(tmp_path: Path) -> None:
    path = tmp_path / "identity"
    made = load_identity(path)
    assert load_identity(path, "new").public == made.public
    assert b"ENCRYPTED" in path.read_bytes()
    assert load_identity(path, "new").public == made.public
    with pytest.raises(FileError, match="needs its passphrase"):
        load_identity(path)


def test_a_passphrase_is_stretched_with_a_salt_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ace = Identity.generate()
    first, second = ace.to_pem("zoe\u0308"), ace.to_pem("zoe\u0308")
    assert first.splitlines()[0] != second.splitlines()[0]
    # However its letters were composed.
    assert Identity.from_pem(first, "zo\u00eb").public == ace.public
    salt, _, pem = first.partition(b"\n")
    with pytest.raises(FileError, match="by another program"):
        Identity.from_pem(pem, "zo\u00eb")
    with pytest.raises(FileError, match="is wrong"):
        Identity.from_pem(second.split(b"\n")[0] + b"\n" + pem, "zo\u00eb")
    with pytest.raises(FileError, match="damaged"):
        Identity.from_pem(salt + b"!\n" + pem, "zo\u00eb")
    with pytest.raises(UsageError):
        ace.to_pem("\udcff")
    monkeypatch.setattr(identity, "PASSPHRASE_COST", 4)
    with pytest.raises(FileError, match="is wrong"):
        Identity.from_pem(first, "zo\u00eb")


def test_what_the_passphrase_opens_is_a_pem_that_others_read() -> None:
    """PROTOCOL.md 8, by hand."""
    ace = Identity.generate()
    head, _, pem = ace.to_pem("pass").partition(b"\n")
    salt = base64.urlsafe_b64decode(head.removeprefix(b"Salt: ") + b"==")
    assert len(salt) == 16
    stretched = hashlib.scrypt(
        b"pass", salt=b"termchat.v1 passphrase\0" + salt, n=2, r=8, p=1, dklen=32
    )
    opened = SigningKey.from_pem(pem, base64.urlsafe_b64encode(stretched).rstrip(b"="))
    assert opened.public == ace.public


def _damage(pem: bytes) -> list[bytes]:
    lines = pem.splitlines()
    middle = [lines[0], lines[1].swapcase(), *lines[2:]]
    return [b"", b"\0" * 100, pem[:-40], b"\n".join(middle), pem[30:], b"\xff" + pem[1:]]


@pytest.mark.parametrize("load", [load_identity, load_relay_key])
def test_a_damaged_file_is_named_and_kept(
    tmp_path: Path, load: Callable[[Path], Identity | RelayKey]
) -> None:
    path = tmp_path / "key"
    load(path)
    for data in _damage(path.read_bytes()):
        replace_private(path, data)
        with pytest.raises(FileError, match="It is damaged, or no key file") as caught:
            load(path)
        assert str(path) in str(caught.value)
        assert path.read_bytes() == data


def test_a_key_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    load_identity(path)
    with pytest.raises(FileError, match="does not hold an X25519 key"):
        load_relay_key(path)
    replace_private(path, RelayKey.generate().to_pem())
    with pytest.raises(FileError, match="does not hold an Ed25519 key"):
        load_identity(path)


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "identity"
    load_identity(path)
    path.chmod(0o640)
    with pytest.raises(FileError, match="chmod 600"):
        load_identity(path)


def test_of_two_processes_at_once_both_have_the_first_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "identity"
    first = Identity.generate()

    def create(where: Path, data: bytes) -> bool:
        """Lose the race: the other process is a moment quicker."""
        assert create_private(where, first.to_pem())
        return create_private(where, data)

    monkeypatch.setattr(identity, "create_private", create)
    assert load_identity(path).public == first.public
    monkeypatch.setattr(identity, "create_private", create_private)
    assert load_identity(path).public == first.public
    assert {entry.name for entry in tmp_path.iterdir()} == {"identity", "identity.lock"}


def test_a_file_that_vanishes_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "create_private", lambda *_: False)
    with pytest.raises(FileError, match="was removed"):
        load_identity(tmp_path / "identity")


def test_no_relay_key_looks_like_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    numbered = (X25519Key.from_bytes(number.to_bytes(32)) for number in range(1, 10_000))
    option = next(key for key in numbered if ticket.key_text(key.public).startswith("-"))
    good = X25519Key.from_bytes(bytes(31) + b"\1")
    supply = iter([option, option, good])
    monkeypatch.setattr(X25519Key, "generate", lambda: next(supply))
    assert RelayKey.generate().public == good.public


def test_a_relay_key_refuses_a_point_that_makes_zeros() -> None:
    with pytest.raises(Unauthentic):
        RelayKey.generate().exchange(bytes(32))


def test_the_safety_number_is_the_vector_on_both_screens() -> None:
    vector = TERMCHAT["safety_number"]
    a = (unhex(vector["a"]["identity"]), vector["a"]["username"])
    b = (unhex(vector["b"]["identity"]), vector["b"]["username"])
    assert identity.safety_number(*a, *b) == vector["text"]
    assert identity.safety_number(*b, *a) == vector["text"]


def test_a_fingerprint_is_of_a_key_and_a_name() -> None:
    ace = unhex(TERMCHAT["cards"][0]["identity"])
    digits = identity.fingerprint(ace, "ace")
    assert len(digits) == 30
    assert digits.isdecimal()
    assert identity.fingerprint(ace, "ACE") == digits
    assert identity.fingerprint(ace, "acf") != digits
    assert identity.fingerprint(bytes(32), "ace") != digits


def test_secrets_do_not_show() -> None:
    for value in (Identity.generate(), RelayKey.generate()):
        assert repr(value).startswith("<common.crypto.identity.")
