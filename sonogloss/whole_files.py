"""Writing a file whole or not at all, on a local disk and on any store; its size and digest are known when it is there.

On a local disk the bytes go to a temporary name beside the target, are synced and renamed. For a store they wait in a
temporary file on this machine and leave it in one upload: a writer that fails has not touched the store, and an upload
that fails is done again.
"""

from __future__ import annotations

import hashlib
import io
import os
import posixpath
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from fsspec.implementations.local import LocalFileSystem

from sonogloss.retries import is_transient, retry

_ending = False
_PIPED_BYTES = 32 << 20  # up to this size one request holds the whole file
_WITHOUT_FOLDERS = {"gs", "gcs", "s3", "s3a", "az", "abfs", "abfss"}  # there a folder to make would be a bucket


class Writing(io.RawIOBase):
    """The handle of a file that is being written: `size` is its bytes so far. It cannot seek."""

    def __init__(self, base: IO[bytes]) -> None:
        super().__init__()
        self._base = base
        self._digest = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, data: Any, /) -> int:
        """Append bytes."""
        view = memoryview(data).cast("B")
        self._base.write(view)
        self._digest.update(view)
        self.size += len(view)
        return len(view)

    def tell(self) -> int:
        """The bytes so far."""
        return self.size

    @property
    def sha256(self) -> str:
        """Hex digest of the bytes so far."""
        return self._digest.hexdigest()


def begin_no_more() -> None:
    """From now on only the main thread begins local files: the process ends, and other threads would leave theirs."""
    global _ending
    _ending = True


@contextmanager
def write_whole(fs: Any, path: str, *, new: bool) -> Iterator[Writing]:
    """Write a file whole or not at all.

    Args:
        fs: an fsspec file system.
        path: the file inside it.
        new: leave a file alone that is there already.

    Raises:
        FileExistsError: `new`, and there is one.
        OSError: it cannot be written.
        TransientError: the store cannot be reached.
    """
    if isinstance(fs, LocalFileSystem):
        with _write_local(fs, path, new) as handle:
            yield handle
        return
    with tempfile.NamedTemporaryFile(prefix="sonogloss-") as held:
        handle = Writing(held.file)
        yield handle
        held.flush()
        retry(lambda: _upload(fs, held.name, path, new), what=path)


@contextmanager
def _write_local(fs: Any, path: str, new: bool) -> Iterator[Writing]:
    if _ending and threading.current_thread() is not threading.main_thread():
        raise InterruptedError(f"{path!r} is not begun: the process ends")
    fs.makedirs(posixpath.dirname(path), exist_ok=True)
    target = f"{path}.tmp-{uuid.uuid4().hex[:8]}"
    try:
        with fs.open(target, "wb") as base:
            yield Writing(base)
            base.flush()
            os.fsync(base.fileno())
        if new:
            _take_name(target, path)
        os.replace(target, path)
    finally:
        with suppress(FileNotFoundError):
            os.remove(target)


def _take_name(target: str, path: str) -> None:
    """Give a finished file its name if the name is free; of several that try one succeeds.

    Raises:
        FileExistsError: the name is taken.
    """
    try:
        os.link(target, path)
    except FileExistsError:
        raise
    except OSError:  # a disk without links: an empty file holds the place for an instant
        with open(path, "xb"):
            pass


def _upload(fs: Any, local: str, path: str, new: bool) -> None:
    mode = {"mode": "create"} if new else {}
    try:
        _send(fs, local, path, mode)
    except FileExistsError:
        raise
    except (TypeError, NotImplementedError) as error:  # this file system cannot create exclusively
        if not new:
            raise OSError(str(error)) from error
        if fs.exists(path):
            raise FileExistsError(path) from None
        _send(fs, local, path, {})
    except FileNotFoundError:
        if _WITHOUT_FOLDERS.intersection([fs.protocol] if isinstance(fs.protocol, str) else fs.protocol):
            raise
        fs.makedirs(posixpath.dirname(path), exist_ok=True)
        _send(fs, local, path, mode)
    except OSError:
        raise
    except Exception as error:  # every store raises its own errors
        if is_transient(error):
            raise
        raise OSError(f"{type(error).__name__}: {error}") from error


def _send(fs: Any, local: str, path: str, mode: dict[str, str]) -> None:
    if os.path.getsize(local) > _PIPED_BYTES:
        fs.put_file(local, path, **mode)
        return
    with open(local, "rb") as handle:
        fs.pipe_file(path, handle.read(), **mode)
