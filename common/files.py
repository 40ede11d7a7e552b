"""Private files: created 0600, replaced atomically, refused if others can read or own them.

Only the last part of a path is judged (PROTOCOL.md 8).
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from common import streams
from common.errors import FileError, Inaccessible

try:
    import fcntl
except ImportError:  # Windows has no flock; there one user runs one client.
    fcntl = None  # type: ignore[assignment]

StrPath = str | os.PathLike[str]

MAX_PRIVATE_BYTES = 16 * 1024 * 1024
"""Larger than any private file of ours; a device or a mistake is not read into memory."""

MAX_SECRET_BYTES = 4096
_IN_KEYS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
MAX_LINE_BYTES = 4096
"""Of a private file to which lines are added."""

_LINK = "{path} is a link. Put the file itself there."
# A FIFO would wait for a writer.
_WITHOUT_WAITING = getattr(os, "O_NONBLOCK", 0)

_UNSUPPORTED = (
    errno.EACCES,
    errno.EBADF,
    errno.EINVAL,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
    errno.EPERM,
)
"""What file systems say that cannot do it to a directory."""


def make_private_dir(path: StrPath) -> None:
    """Create `path` (and its parents) as a 0700 directory if it is missing.

    Raises:
        FileError: if it cannot be made, is another user's, or others may enter it.
    """
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        # It may be a link, but none that another user could turn.
        link, status = os.lstat(path), os.stat(path)
    except OSError as error:
        raise Inaccessible(f"Cannot use the directory {path}: {error.strerror}.") from None
    fault = _foreign(path, link) or _foreign(path, status)
    if fault:
        raise FileError(fault)
    if os.name == "posix" and status.st_mode & 0o077:
        raise FileError(f"Others can read {path}. Run: chmod 700 {path}")


def read_private(path: StrPath, start: int = 0) -> bytes | None:
    """Return the content of a private file from a byte on, or None if there is none.

    Raises:
        FileError: if it is a link, another user's, open to group or others, or cannot be read.
    """
    found = _read(path, MAX_PRIVATE_BYTES, start, is_private=True)
    if found is None:
        return None
    data, status = found
    _check_mode(path, status)
    return data


class Shared(NamedTuple):
    """A file that others may see.

    Attributes:
        fault: why what it says is not its reader's word, in a sentence; "" if it is.
        is_readable: whether others can read it.
    """

    data: bytes
    fault: str
    is_readable: bool

    def __repr__(self) -> str:
        """Hide the data, which may be a password's."""
        return "Shared()"


def read_shared(path: StrPath, most_bytes: int) -> Shared | None:
    """Return a file of the user's own making, or None if there is none.

    Raises:
        FileError: if it cannot be read.
    """
    found = _read(path, most_bytes, is_private=False)
    if found is None:
        return None
    data, status = found
    if os.name != "posix":
        return Shared(data, "", is_readable=False)
    fault = _foreign(path, status)
    if not fault and status.st_mode & 0o022:
        fault = f"Others can write {path}. Run: chmod 600 {path}"
    return Shared(data, fault, is_readable=bool(status.st_mode & 0o044))


def create_own(path: StrPath, data: bytes) -> None:
    """Write a private file that the user will edit, and that is not there yet.

    Raises:
        FileError: if it is there, or cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    try:
        with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
            file.write(data)
    except FileExistsError:
        raise FileError(f"{path} is there already. Nothing was changed.") from None
    except OSError as error:
        raise FileError(f"Cannot write {path}: {error.strerror}.") from None


def read_secret(path: str, what: str, least: int = 0) -> str:
    """Return the first line of a file, or for `-` the next of standard input.

    Args:
        path: of the file, or `-`.
        what: it is, for a question and for sentences.
        least: letters, digits, `-` and `_` that it has; a line of less goes on in the next.

    Raises:
        FileError: if there is none, it cannot be read, or it is a file that others own or can read.
    """
    source = "Standard input" if path == "-" else path
    try:
        if path == "-":
            line = _ask_secret(what) if os.isatty(0) else first_line(0, least)
        else:
            fd = os.open(path, os.O_RDONLY)
            try:
                status = os.fstat(fd)
                # A service manager may put a link there, or give access by its group, or by an ACL
                # that looks like one.
                if stat.S_ISREG(status.st_mode):
                    _check_mode(path, status, others=0o007)
                line = first_line(fd, least)
            finally:
                os.close(fd)
    except (OSError, EOFError) as error:
        why = getattr(error, "strerror", None) or "it has ended"
        raise FileError(f"Cannot read {source}: {why}.") from None
    return decode_secret(line, source, what)


def decode_secret(line: bytes, source: str, what: str) -> str:
    """Return a line that was read as a secret.

    Raises:
        FileError: if it can be none.
    """
    try:
        secret = line.decode("utf-16" if _is_utf16(line) else "utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        secret = ""
    if not secret or "\0" in secret or len(line) > MAX_SECRET_BYTES:
        raise FileError(f"{source} holds no line of text that could be {what}.")
    return secret


def _ask_secret(what: str) -> bytes:
    # Here, because it is seldom wanted.
    import getpass

    return getpass.getpass(f"{what}: ").encode("utf-8", "replace")


def first_line(fd: int, least: int) -> bytes:
    """Read a line and no byte more: the rest of standard input is for somebody else.

    Args:
        fd: what is read.
        least: as of `read_secret`.

    Raises:
        OSError: if it cannot be read.
    """
    line = b""
    while len(line) <= MAX_SECRET_BYTES and not (
        _is_whole(line) and sum(char in _IN_KEYS for char in line) >= least
    ):
        byte = streams.read(fd, 1)
        if not byte:
            break
        line += byte
    return line


def _is_utf16(line: bytes) -> bool:
    """Tell whether an editor of Windows saved it so, which it says with a mark at the start."""
    return line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))


def _is_whole(line: bytes) -> bool:
    if not _is_utf16(line):
        return line.endswith(b"\n")
    end = "\n".encode("utf-16-le" if line.startswith(codecs.BOM_UTF16_LE) else "utf-16-be")
    return not len(line) % 2 and line.endswith(end)


def create_private(path: StrPath, data: bytes) -> bool:
    """Write a private file that must not exist yet, so that of several processes one wins.

    Returns:
        Whether we made it; False if it was there.

    Raises:
        FileError: if it cannot be written.
    """
    # Not by link(), which would need no lock: Android and some file systems have none.
    with locked(path):
        if os.path.lexists(path):
            return False
        replace_private(path, data)
    return True


def replace_private(path: StrPath, data: bytes) -> None:
    """Write a private file in the place of the one there: whole or not at all.

    Raises:
        FileError: if it cannot be written; the old file is then unchanged.
    """
    try:
        with _temporary(path, data) as name:
            os.replace(name, path)
        _sync_dir(os.path.dirname(path) or os.curdir)
    except OSError as error:
        raise Inaccessible(f"Cannot write {path}: {error.strerror}.") from None


def append_private(path: StrPath, lines: bytes, *, is_synced: bool) -> None:
    """Add whole lines to a private file, whose lock is held; one that was cut short there goes.

    Args:
        path: created if it is missing.
        lines: each with its newline.
        is_synced: whether a power cut must not take them.

    Raises:
        FileError: if it cannot be written, or others can read it; no line is then added.
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
    try:
        fd = _open(path, flags)
        status = _regular(path, fd)
        with os.fdopen(fd, "r+b", buffering=0) as file:
            _check_mode(path, status)
            size = file.seek(0, os.SEEK_END)
            tail_at = file.seek(max(0, size - MAX_LINE_BYTES))
            end = tail_at + (file.read(MAX_LINE_BYTES) or b"").rfind(b"\n") + 1
            try:
                file.seek(file.truncate(end) if end != size else size)
                if file.write(lines) != len(lines):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if is_synced:
                    os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise
        if is_synced and not size:
            _sync_dir(os.path.dirname(path) or os.curdir)
    except OSError as error:
        raise Inaccessible(f"Cannot write {path}: {error.strerror}.") from None


@contextlib.contextmanager
def locked(path: StrPath) -> Iterator[None]:
    """Hold the lock that goes with `path`, across processes.

    Raises:
        FileError: if the lock file cannot be used.
    """
    fd = _open_lock(f"{os.fspath(path)}.lock")
    try:
        _lock(fd, is_patient=True)
        yield
    finally:
        os.close(fd)


class Hold:
    """A lock on a directory, for as long as its process lives."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def locks_ranges(self) -> bool:
        """Tell whether its file system can lock a part of a file, as databases do (POSIX)."""
        try:
            if fcntl is not None:  # other systems have other means
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass  # by ourselves, where one kind stands for both
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Let go."""
        os.close(self._fd)


def hold(path: StrPath, taken: str) -> Hold:
    """Take the lock `path`, or fail at once.

    Raises:
        FileError: with the sentence `taken` if another process holds it.
    """
    fd = _open_lock(path)
    try:
        _lock(fd, is_patient=False)
    except BlockingIOError:
        os.close(fd)
        raise FileError(taken) from None
    return Hold(fd)


def _lock(fd: int, *, is_patient: bool) -> None:
    """Lock a file, as far as its system and file system can: some have one kind only, or none.

    A lock that cannot be had keeps nobody out, but is not one that another holds either.

    Raises:
        BlockingIOError: if another holds it, and we are not patient.
    """
    for lock in (fcntl.flock, fcntl.lockf) if fcntl is not None else ():
        try:
            lock(fd, fcntl.LOCK_EX if is_patient else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            continue
        return


def check_private(path: StrPath) -> None:
    """Check that a file that others will open is private, if it is there.

    Raises:
        FileError: if it is a link, another user's, or open to group or others.
    """
    with contextlib.suppress(FileNotFoundError):
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            raise FileError(_LINK.format(path=path))
        _check_mode(path, status)


def _check_mode(path: StrPath, status: os.stat_result, *, others: int = 0o077) -> None:
    fault = _foreign(path, status)
    if fault:
        raise FileError(fault)
    if os.name == "posix" and status.st_mode & others:
        raise FileError(f"Others can read {path}. Run: chmod 600 {path}")


def _foreign(path: StrPath, status: os.stat_result) -> str:
    """Return what is wrong with the owner: one that is not us, or root, changes it at will."""
    if os.name != "posix" or status.st_uid in (os.geteuid(), 0):
        return ""
    return f"{path} belongs to another user. Use one of your own."


def _open(path: StrPath, flags: int) -> int:
    """Open a private file, or one that goes with it.

    Raises:
        OSError: if it cannot be opened.
        FileError: if it is a link: whoever could put it there would choose what we read or lock.
    """
    try:
        return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | _WITHOUT_WAITING, 0o600)
    except OSError:
        if os.path.islink(path):
            raise FileError(_LINK.format(path=path)) from None
        raise


def _open_lock(path: StrPath) -> int:
    try:
        fd = _open(path, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise Inaccessible(f"Cannot write {path}: {error.strerror}.") from None
    try:
        _check_mode(path, _regular(path, fd))
    except FileError:
        with contextlib.suppress(OSError):  # what is no regular file was closed there
            os.close(fd)
        raise
    return fd


def _regular(path: StrPath, fd: int) -> os.stat_result:
    """Return the status of an open file, which is closed if it is none that keeps data."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise FileError(f"{path} is not a regular file.")
    return status


def _read(
    path: StrPath, most_bytes: int, start: int = 0, *, is_private: bool
) -> tuple[bytes, os.stat_result] | None:
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
    try:
        fd = _open(path, flags) if is_private else os.open(path, flags | _WITHOUT_WAITING)
        status = _regular(path, fd)
        with os.fdopen(fd, "rb") as file:
            file.seek(start)
            data = file.read(most_bytes + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Inaccessible(f"Cannot read {path}: {error.strerror}.") from None
    if len(data) > most_bytes:
        raise FileError(f"{path} is too large to be one of ours.")
    return data, status


@contextlib.contextmanager
def _temporary(path: StrPath, data: bytes) -> Iterator[str]:
    """Write `data` beside `path`, 0600 and fsynced; it is removed at the end if still there."""
    # Here, since it costs a client 10 ms before its first frame.
    import tempfile

    directory, of = os.path.split(path)
    fd, name = tempfile.mkstemp(prefix=f".{of}.", dir=directory or os.curdir)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield name
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def _sync_dir(path: StrPath) -> None:
    """Make a rename durable."""
    if os.name != "posix":
        return
    try:
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
