"""Private files: created 0600, replaced atomically, refused if others can read.

And the standard streams, which must be open before any file is.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from common.errors import FileError

try:
    import fcntl
except ImportError:  # Windows has no flock; there one user runs one client.
    fcntl = None  # type: ignore[assignment]

StrPath = str | os.PathLike[str]

MAX_PRIVATE_BYTES = 16 * 1024 * 1024
"""Larger than any private file of ours; a device or a mistake is not read into memory."""

MAX_SECRET_BYTES = 4096


def open_streams() -> None:
    """Open what came closed, or the next file or socket would pass for standard output."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def make_private_dir(path: StrPath) -> None:
    """Create `path` (and its parents) as a 0700 directory if it is missing.

    Raises:
        FileError: if it cannot be made, or others may enter it.
    """
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        mode = os.stat(path).st_mode
    except OSError as error:
        raise FileError(f"Cannot use the directory {path}: {error.strerror}.") from None
    if os.name == "posix" and mode & 0o077:
        raise FileError(f"Others can read {path}. Run: chmod 700 {path}")


def read_private(path: StrPath) -> bytes | None:
    """Return the content of a private file, or None if there is none.

    Raises:
        FileError: if group or others may read or write it, or it cannot be read.
    """
    found = _read(path, MAX_PRIVATE_BYTES)
    if found is None:
        return None
    data, status = found
    if os.name == "posix" and status.st_mode & 0o077:
        raise FileError(f"Others can read {path}. Run: chmod 600 {path}")
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


def read_shared(path: StrPath, most_bytes: int) -> Shared | None:
    """Return a file of the user's own making, or None if there is none.

    Raises:
        FileError: if it cannot be read.
    """
    found = _read(path, most_bytes)
    if found is None:
        return None
    data, status = found
    if os.name != "posix":
        return Shared(data, "", is_readable=False)
    fault = ""
    if status.st_uid != os.geteuid():
        fault = f"{path} belongs to another user. Use a copy of your own."
    elif status.st_mode & 0o022:
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


def read_secret(path: str, what: str) -> str:
    """Return the first line of a file, or for `-` the next of standard input.

    Raises:
        FileError: if there is none, it cannot be read, or it is a file that others can read.
    """
    source = "Standard input" if path == "-" else path
    try:
        if path == "-":
            line = _ask_secret(what) if os.isatty(0) else _first_line(0)
        else:
            fd = os.open(path, os.O_RDONLY)
            try:
                mode = os.fstat(fd).st_mode
                # A service manager may give access by its group, or by an ACL that looks like one.
                if os.name == "posix" and stat.S_ISREG(mode) and mode & 0o007:
                    raise FileError(f"Others can read {path}. Run: chmod 600 {path}")
                line = _first_line(fd)
            finally:
                os.close(fd)
    except (OSError, EOFError) as error:
        why = getattr(error, "strerror", None) or "it has ended"
        raise FileError(f"Cannot read {source}: {why}.") from None
    try:
        secret = line.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        secret = ""
    if not secret or len(line) > MAX_SECRET_BYTES:
        raise FileError(f"{source} holds no line of text that could be {what}.")
    return secret


def _ask_secret(what: str) -> bytes:
    # Here, because it is seldom wanted.
    import getpass

    return getpass.getpass(f"{what}: ").encode("utf-8", "replace")


def _first_line(fd: int) -> bytes:
    """Read a line and no byte more: the rest of standard input is for somebody else."""
    line = b""
    while len(line) <= MAX_SECRET_BYTES and not line.endswith(b"\n"):
        byte = os.read(fd, 1)
        if not byte:
            break
        line += byte
    return line


def create_private(path: StrPath, data: bytes) -> bool:
    """Write a private file that must not exist yet, so that of several processes one wins.

    Returns:
        Whether we made it; False if it was there.

    Raises:
        FileError: if it cannot be written.
    """
    # Not by link(), which would need no lock: Android and some file systems have none.
    with locked(path):
        if os.path.exists(path):
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
        raise FileError(f"Cannot write {path}: {error.strerror}.") from None


@contextlib.contextmanager
def locked(path: StrPath) -> Iterator[None]:
    """Hold the lock that goes with `path`, across processes.

    Raises:
        FileError: if the lock file cannot be used.
    """
    lock = f"{os.fspath(path)}.lock"
    try:
        fd = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise FileError(f"Cannot write {lock}: {error.strerror}.") from None
    try:
        if fcntl is not None:
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


class Hold:
    """A lock on a directory, for as long as its process lives."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def close(self) -> None:
        """Let go."""
        os.close(self._fd)


def hold(path: StrPath, taken: str) -> Hold:
    """Take the lock `path`, or fail at once.

    Raises:
        FileError: with the sentence `taken` if another process holds it.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise FileError(f"Cannot write {path}: {error.strerror}.") from None
    if fcntl is not None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise FileError(taken) from None
    return Hold(fd)


def check_private(path: StrPath) -> None:
    """Check that nobody else can read a file, if it is there.

    Raises:
        FileError: if others can.
    """
    with contextlib.suppress(FileNotFoundError):
        if os.name == "posix" and os.stat(path).st_mode & 0o077:
            raise FileError(f"Others can read {path}. Run: chmod 600 {path}")


def _read(path: StrPath, most_bytes: int) -> tuple[bytes, os.stat_result] | None:
    try:
        # Opening a FIFO would wait for a writer.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise FileError(f"{path} is not a regular file.")
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            data = file.read(most_bytes + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise FileError(f"Cannot read {path}: {error.strerror}.") from None
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
    if os.name == "posix":
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
