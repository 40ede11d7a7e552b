from __future__ import annotations

import codecs
import contextlib
import errno
import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common import files
from common.errors import FileError
from tests.floors import ROOT


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture(autouse=True)
def _lax_umask() -> Iterator[None]:
    """Run every test under the umask that hides nothing."""
    before = os.umask(0o000)
    yield
    os.umask(before)


def _locked(path: Path) -> None:
    with files.locked(path):
        pass


ANOTHER = 12_345
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_private_directory_is_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    files.make_private_dir(path)
    assert _mode(path) == 0o700
    files.make_private_dir(path)


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701, 0o720])
def test_a_directory_others_may_enter_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "home"
    path.mkdir()
    path.chmod(mode)
    with pytest.raises(FileError, match="chmod 700"):
        files.make_private_dir(path)


def test_a_file_in_the_place_of_a_directory_is_named(tmp_path: Path) -> None:
    path = tmp_path / "home"
    path.touch()
    for wanted in (path, path / "below"):
        with pytest.raises(FileError, match="Cannot use the directory") as caught:
            files.make_private_dir(wanted)
        assert str(wanted) in str(caught.value)


def test_a_file_is_created_once(tmp_path: Path) -> None:
    path = tmp_path / "key"
    assert files.read_private(path) is None
    assert files.create_private(path, b"first")
    assert not files.create_private(path, b"second")
    assert files.read_private(path) == b"first"
    assert _mode(path) == 0o600
    assert set(tmp_path.iterdir()) == {path, tmp_path / "key.lock"}


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "pins"
    for data in (b"first", b"", b"x" * 100_000):
        files.replace_private(path, data)
        assert files.read_private(path) == data
        assert _mode(path) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    files.replace_private(old, b"old")
    monkeypatch.setattr(os, "fsync", _full)
    with pytest.raises(FileError, match="No space left on device") as caught:
        files.replace_private(old, b"new")
    assert str(old) in str(caught.value)
    with pytest.raises(FileError, match="No space left on device"):
        files.create_private(new, b"new")
    assert files.read_private(old) == b"old"
    assert set(tmp_path.iterdir()) == {old, tmp_path / "new.lock"}


def test_a_file_in_a_missing_directory_is_named(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "key"
    assert files.read_private(path) is None
    for write in (files.create_private, files.replace_private):
        with pytest.raises(FileError, match="Cannot write") as caught:
            write(path, b"")
        assert str(path) in str(caught.value)
    with pytest.raises(FileError, match="Cannot write"), files.locked(path):
        pass


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o660])
def test_a_file_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    files.create_private(path, b"secret")
    path.chmod(mode)
    with pytest.raises(FileError, match="chmod 600") as caught:
        files.read_private(path)
    assert "secret" not in str(caught.value)


USES: dict[str, Callable[[Path], object]] = {
    "read": files.read_private,
    "check": files.check_private,
    "lock": lambda path: files.hold(path, "taken").close(),
    "wait for": _locked,
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("leads_to", ["a file", "nothing", "itself"])
def test_a_link_is_not_followed(
    tmp_path: Path, use: Callable[[Path], object], leads_to: str
) -> None:
    target, link = tmp_path / "target", tmp_path / "key"
    for each in (link, tmp_path / "key.lock"):
        each.symlink_to(each if leads_to == "itself" else target)
    if leads_to == "a file":
        files.create_private(target, b"data")
    with pytest.raises(FileError, match=r"key(\.lock)? is a link"):
        use(link)
    assert target.exists() is (leads_to == "a file")


def test_a_file_is_not_made_in_the_place_of_a_link(tmp_path: Path) -> None:
    link = tmp_path / "key"
    link.symlink_to(tmp_path / "target")
    assert not files.create_private(link, b"data")
    assert link.is_symlink()
    assert not (tmp_path / "target").exists()


def test_a_directory_may_be_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "home"
    target.mkdir(0o700)
    link.symlink_to(target)
    files.make_private_dir(link)
    target.chmod(0o750)
    with pytest.raises(FileError, match="chmod 700"):
        files.make_private_dir(link)


@needs_root
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_file_of_another_user_is_refused(tmp_path: Path, use: Callable[[Path], object]) -> None:
    path = tmp_path / "key"
    for each in (path, tmp_path / "key.lock"):
        files.create_private(each, b"theirs")
        os.chown(each, ANOTHER, 0)
    with pytest.raises(FileError, match=r"key(\.lock)? belongs to another user"):
        use(path)


@needs_root
def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for path in (ours, theirs):
        path.mkdir(0o700)
    os.chown(theirs, ANOTHER, 0)
    with pytest.raises(FileError, match="theirs belongs to another user"):
        files.make_private_dir(theirs)
    # Whoever owns a link turns it to another directory of ours.
    link = tmp_path / "link"
    for target in (theirs, ours):
        link.symlink_to(target)
        if target is ours:
            os.chown(link, ANOTHER, 0, follow_symlinks=False)
        with pytest.raises(FileError, match="link belongs to another user"):
            files.make_private_dir(link)
        link.unlink()


@needs_root
def test_what_root_owns_is_as_good_as_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.create_private(tmp_path / "key", b"root's")
    monkeypatch.setattr(os, "geteuid", lambda: ANOTHER)
    assert files.read_private(tmp_path / "key") == b"root's"
    shared = files.read_shared(tmp_path / "key", 100)
    assert shared is not None
    assert not shared.fault
    assert files.read_secret(str(tmp_path / "key"), "Password") == "root's"


@needs_root
def test_a_secret_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "password"
    files.create_private(path, b"theirs")
    os.chown(path, ANOTHER, 0)
    with pytest.raises(FileError, match="password belongs to another user"):
        files.read_secret(str(path), "Password")
    shared = files.read_shared(path, 100)
    assert shared is not None
    assert "belongs to another user" in shared.fault


def test_a_secret_may_be_behind_a_link(tmp_path: Path) -> None:
    files.create_private(tmp_path / "target", b"secret")
    (tmp_path / "password").symlink_to("target")
    assert files.read_secret(str(tmp_path / "password"), "Password") == "secret"


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "key.lock").mkdir()
    for path in (tmp_path, Path(os.devnull), fifo):
        with pytest.raises(FileError, match="not a regular file"):
            files.read_private(path)
    with pytest.raises(FileError, match="not a regular file"):
        files.hold(fifo, "taken")
    with pytest.raises(FileError, match="Cannot write"):
        _locked(tmp_path / "key")


def test_a_file_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key"
    monkeypatch.setattr(files, "MAX_PRIVATE_BYTES", 10)
    files.replace_private(path, b"x" * 10)
    assert files.read_private(path) == b"x" * 10
    files.replace_private(path, b"x" * 11)
    with pytest.raises(FileError, match="too large"):
        files.read_private(path)


def test_a_lock_is_held_until_the_end_of_the_block(tmp_path: Path) -> None:
    path = tmp_path / "pins"

    def is_free() -> bool:
        with (tmp_path / "pins.lock").open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    with files.locked(path):
        assert not is_free()
        assert _mode(tmp_path / "pins.lock") == 0o600
    assert is_free()

    def fail() -> None:
        with files.locked(path):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert is_free()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
@pytest.mark.parametrize("has_other_kind", [False, True])
def test_a_lock_that_cannot_be_had_is_not_one_that_another_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, *, has_other_kind: bool
) -> None:
    def lacks(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", lacks)
    if not has_other_kind:
        monkeypatch.setattr(fcntl, "lockf", lacks)
    path = tmp_path / "pins"
    assert files.create_private(path, b"data")
    with files.locked(path):
        pass
    files.hold(tmp_path / "lock", "taken").close()


def test_a_lock_of_another_kind_keeps_others_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacks(*_: object) -> None:
        raise OSError(errno.ENOSYS, "none")

    monkeypatch.setattr(fcntl, "flock", lacks)
    path = tmp_path / "lock"
    held = files.hold(path, "taken")
    # Another process, since such a lock is of one.
    code = (
        "import fcntl, sys; from common import files, errors\n"
        "fcntl.flock = fcntl.lockf\n"
        "try: files.hold(sys.argv[1], 'taken')\n"
        "except errors.FileError as problem: print(problem)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True
    )
    assert (told.stdout, told.stderr) == ("taken\n", "")
    held.close()


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EIO])
def test_a_file_system_that_syncs_no_directories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    sync = os.fsync

    def fsync(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(number, os.strerror(number))
        sync(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    with contextlib.nullcontext() if number == errno.EINVAL else pytest.raises(FileError):
        files.replace_private(tmp_path / "pins", b"data")
    assert files.read_private(tmp_path / "pins") == b"data"


class TestSecret:
    @pytest.mark.parametrize("end", ["", "\n", "\r\n", "\r", "\r\nsecond line\r\n"])
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "be", "le"])
    @pytest.mark.parametrize("secret", ["secret", " pass w\u00f6rd ", "\u0a0a\u0d0a\u000b\u010a"])
    def test_what_an_editor_of_windows_saves(
        self, tmp_path: Path, secret: str, encoding: str, end: str
    ) -> None:
        marks = {"be": codecs.BOM_UTF16_BE, "le": codecs.BOM_UTF16_LE}
        mark = marks.get(encoding, b"")
        codec = f"utf-16-{encoding}" if mark else encoding
        path = tmp_path / "secret"
        path.write_bytes(mark + (secret + end).encode(codec))
        path.chmod(0o600)
        assert files.read_secret(str(path), "Password") == secret

    @pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32"])
    def test_what_cannot_be_told_is_refused(self, tmp_path: Path, codec: str) -> None:
        path = tmp_path / "secret"
        path.write_bytes("secret\r\n".encode(codec))
        path.chmod(0o600)
        with pytest.raises(FileError, match="holds no line of text"):
            files.read_secret(str(path), "Password")

    def test_the_first_line_of_a_private_file(self, tmp_path: Path) -> None:
        path = tmp_path / "secret"
        path.write_bytes(b" pass word \r\nnot this\n")
        path.chmod(0o600)
        assert files.read_secret(str(path), "Password") == " pass word "
        path.chmod(0o604)
        with pytest.raises(FileError, match="Others can read"):
            files.read_secret(str(path), "Password")

    @pytest.mark.parametrize("data", [b"", b"\n", b"\xff\n", b"x" * 5_000])
    def test_what_is_no_line_of_text(self, tmp_path: Path, data: bytes) -> None:
        path = tmp_path / "secret"
        path.write_bytes(data)
        path.chmod(0o600)
        with pytest.raises(FileError, match="holds no line of text"):
            files.read_secret(str(path), "Password")
        with pytest.raises(FileError, match="Cannot read"):
            files.read_secret(str(tmp_path / "none"), "Password")
        with pytest.raises(FileError, match="Cannot read"):
            files.read_secret(str(tmp_path), "Password")

    def test_a_line_that_was_wrapped_goes_on(self, tmp_path: Path) -> None:
        path = tmp_path / "key"
        for data, read in (
            (b"> abc d\r\n> efgh@host\nnot this\n", "> abc d\r\n> efgh@host"),
            (b"abcdefgh\nnot this\n", "abcdefgh"),
            (b"abc\ndef", "abc\ndef"),
        ):
            path.write_bytes(data)
            path.chmod(0o600)
            assert files.read_secret(str(path), "KEY", 8) == read

    def test_standard_input_is_read_no_further(self, monkeypatch: pytest.MonkeyPatch) -> None:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)  # as another program may have left it
        password = codecs.BOM_UTF16_LE + "password\n".encode("utf-16-le")
        os.write(writer, b"KEY\n" + password + b"rest")
        saved = os.dup(0)
        try:
            os.dup2(reader, 0)
            assert files.read_secret("-", "KEY") == "KEY"
            assert files.read_secret("-", "Password") == "password"
            assert os.read(0, 9) == b"rest"
        finally:
            os.dup2(saved, 0)
            for fd in (reader, writer, saved):
                os.close(fd)
