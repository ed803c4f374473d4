"""The only place where paths are opened: list, open, write whole, digest. Every path may be any fsspec URL."""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import stat
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, Any
from zipfile import BadZipFile

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import OpenFile, get_compression
from fsspec.implementations.local import LocalFileSystem

from sonogloss.errors import FormatError, InputError, MissingInputError, OptionError, OutputError
from sonogloss.retries import retried, retry
from sonogloss.urls import file_system, has_foreign_protocol, is_url
from sonogloss.whole_files import Writing, write_whole

_CHUNK = 1 << 20
_SLICES, _SLICE = 16, 1 << 16


def _file_system(path: str) -> tuple[Any, str]:
    """The file system of a path or URL, and the path inside it.

    Raises:
        OptionError: the protocol is unknown, or its package is not installed.
    """
    if is_url(path) or has_foreign_protocol(path):
        try:
            return file_system(path)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError, BadZipFile) as error:
            reason = getattr(error, "strerror", None) or str(error)  # of the archive that a chain of URLs opens
            raise OptionError(f"{path!r} cannot be opened ({reason}).", "Check the file behind '::'.") from error
    fs = LocalFileSystem()  # not by fsspec's parser, to which `::` in a name would begin another URL
    return fs, str(fs._strip_protocol(path))


def join(base: str, *parts: str) -> str:
    """Join path parts below a local directory or a URL."""
    return posixpath.join(base.rstrip("/") or "/", *parts)


@retried
def exists(path: str) -> bool:
    """Is there a file or directory at this path?"""
    fs, inner = _file_system(path)
    return bool(fs.exists(inner))


@retried
def is_dir(path: str) -> bool:
    """Is there a directory at this path?"""
    fs, inner = _file_system(path)
    return bool(fs.isdir(inner))


@retried
def size(path: str) -> int:
    """Size of a file in bytes."""
    fs, inner = _file_system(path)
    return int(fs.size(inner))


def is_pipe(path: str) -> bool:
    """Is this a named pipe, which may keep its reader waiting for ever?"""
    local = local_path(path)
    if local is None or local.startswith(("/dev/", "/proc/")):
        return False
    try:
        return stat.S_ISFIFO(os.stat(local).st_mode)
    except OSError:
        return False


def base_name(path: str) -> str:
    """The last part of a path or URL."""
    return posixpath.basename(path.rstrip("/"))


def local_path(path: str) -> str | None:
    """The path on this machine, or None when the file lies elsewhere."""
    fs, inner = _file_system(path)
    return str(inner) if isinstance(fs, LocalFileSystem) else None


def expand(patterns: Iterable[str], *, option: str) -> list[str]:
    """Files that the patterns name, sorted, each once. A directory stands for all files below it.

    Local files come back as absolute paths, others as URLs.

    Raises:
        MissingInputError: a path does not exist or a glob matches nothing; `option` is named in the message.
    """
    found: set[str] = set()
    for pattern in patterns:
        matches = _expand_one(pattern)
        if not matches:
            what = "matches no file" if any(c in pattern for c in "*?[") else "does not exist or holds no file"
            remedy = "Check the path; quote globs, `**` walks sub-folders."
            raise MissingInputError(f"{option} {pattern!r} {what}.", remedy)
        found.update(matches)
    return sorted(found)


def _expand_one(pattern: str) -> list[str]:
    fs, inner = _file_system(pattern)
    if isinstance(fs, LocalFileSystem):
        inner = os.path.normpath(inner)  # a file has one name, and with it one id, whichever way it was written
    if fs.isfile(inner):
        names = [inner]
    elif fs.isdir(inner):
        names = fs.find(inner)
    elif any(c in inner for c in "*?["):
        names = [name for name in fs.glob(inner) if fs.isfile(name)]
    else:
        names = []
    return [str(name) if isinstance(fs, LocalFileSystem) else fs.unstrip_protocol(name) for name in names]


@retried
def list_dir(path: str, suffix: str = "") -> list[str]:
    """Files directly in a directory whose names end in `suffix`, sorted; empty when there is no such directory."""
    fs, inner = _file_system(path)
    try:
        names = [str(name).rstrip("/") for name in fs.ls(inner, detail=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    # Of a file some list itself, and object stores keep an empty object in the place of a folder.
    return sorted(join(path, base_name(n)) for n in names if n.endswith(suffix) and n != inner.rstrip("/"))


@retried
def list_below(path: str) -> list[str]:
    """Names of all files below a directory, relative to it, sorted; empty when there is no such directory."""
    fs, inner = _file_system(path)
    if not fs.isdir(inner):
        return []
    return sorted(posixpath.relpath(str(name), inner) for name in fs.find(inner))


@contextmanager
def open_read(path: str, compression: str | None = None) -> Iterator[IO[bytes]]:
    """Open a file for reading bytes; `compression="infer"` unpacks by the name's ending (gz, zst, bz2, xz)."""
    fs, inner = _file_system(path)
    file = OpenFile(fs, inner, "rb", compression=get_compression(inner, compression))
    handle = retry(file.__enter__, what=path)
    try:
        yield handle
    finally:
        file.__exit__()


@retried
def read_bytes(path: str) -> bytes:
    """The whole content of a file."""
    fs, inner = _file_system(path)
    return bytes(fs.cat_file(inner))  # one request; to open it takes another one


@contextmanager
def atomic_write(path: str, *, new: bool = False) -> Iterator[Writing]:
    """Write a file whole or not at all, wherever it lies; see :mod:`sonogloss.whole_files`.

    Args:
        path: where.
        new: leave a file alone that is there already. Of several that write at once one succeeds, where the file
            system can create exclusively (local disks and most object stores).

    Raises:
        FileExistsError: `new`, and there is one.
        OutputError: the place cannot be written.
        TransientError: the store cannot be reached; another try may succeed.
    """
    fs, inner = _file_system(path)
    try:
        with write_whole(fs, inner, new=new) as handle:
            yield handle
    except OSError as error:
        if new and isinstance(error, FileExistsError):
            raise
        raise _unwritable(path, error) from error


def _unwritable(path: str, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    return OutputError(f"Cannot write {path!r}: {reason}.", "Name a place with write permission and free space.")


def check_writable(directory: str) -> None:
    """Make the directory and prove that a file can be written there.

    Raises:
        OutputError: it cannot.
    """
    if (local := local_path(directory)) is not None:
        try:
            os.makedirs(local, exist_ok=True)
            with tempfile.TemporaryFile(dir=local):  # has no name, so that a process that is killed here leaves none
                return
        except OSError as error:
            raise _unwritable(directory, error) from error
    probe = join(directory, f".probe-{uuid.uuid4().hex[:8]}")
    try:
        write_bytes(probe, b"")
    except OutputError as error:
        raise OutputError(error.what.replace(probe, directory), error.remedy) from error
    remove(probe)


@retried
def remove(path: str) -> None:
    """Delete a file; one that is gone already is as it should be."""
    fs, inner = _file_system(path)
    with suppress(FileNotFoundError):
        fs.rm_file(inner)


def remove_empty_folders(directory: str, names: Iterable[str]) -> None:
    """Remove folders below a local directory that hold no file; elsewhere a folder is its files."""
    root = local_path(directory)
    for name in names if root else ():
        for folder, _, _ in os.walk(os.path.join(str(root), name), topdown=False):
            with suppress(OSError):  # it is not empty
                os.rmdir(folder)


def create_new(path: str, content: bytes) -> bool:
    """Write a file if there is none; False when there is one.

    Of several that try at once one succeeds, where the file system can create exclusively (local disks and most object
    stores); elsewhere the file is looked for first.

    Raises:
        OutputError: the place cannot be written.
    """
    local = local_path(path)
    try:
        if local is None:
            with atomic_write(path, new=True) as handle:
                handle.write(content)
        else:
            os.makedirs(posixpath.dirname(local), exist_ok=True)
            with open(local, "xb") as file:  # no temporary name, which a process that is killed here would leave
                file.write(content)
    except FileExistsError:
        return False
    except OSError as error:
        raise _unwritable(path, error) from error
    return True


def overwrite(path: str, content: bytes) -> None:
    """Replace the content of a small file in place, and leave no other file beside it, whenever the process ends."""
    fs, inner = _file_system(path)
    if isinstance(fs, LocalFileSystem):
        with open(inner, "r+b") as handle:
            handle.write(content)
            handle.truncate()
    else:
        fs.pipe_file(inner, content)


def write_bytes(path: str, content: bytes) -> None:
    """Write a file whole or not at all."""
    with atomic_write(path) as handle:
        handle.write(content)


def write_json(path: str, value: Any) -> None:
    """Write JSON, indented, keys in the order given, whole or not at all."""
    write_bytes(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """Indented JSON. A path that is not UTF-8 comes back as it was: its odd bytes are written as JSON's escapes."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode(errors="backslashreplace")


def read_json(path: str, *, error: Callable[[str, str], InputError] = FormatError) -> Any:
    """Read JSON.

    Raises:
        error: (by default FormatError) the file is not JSON.
    """
    try:
        return json.loads(read_bytes(path))
    except (UnicodeDecodeError, json.JSONDecodeError) as problem:
        raise error(f"{path!r} is not valid JSON ({problem}).", "Restore the file or make it again.") from problem


def write_table(path: str, table: pa.Table, *, new: bool = False) -> Writing:
    """Write a Parquet file (zstd), whole or not at all. Equal tables give equal bytes.

    Args:
        path: where.
        table: what.
        new: as of :func:`atomic_write`.

    Returns:
        What was written: its `size` in bytes and its `sha256`.
    """
    with atomic_write(path, new=new) as handle:
        pq.write_table(table, handle, compression="zstd")
    return handle


@retried
def read_table(path: str, columns: list[str] | None = None) -> pa.Table:
    """Read one Parquet file; from a store all of it at once, if all columns are wanted, for parts are small."""
    if columns is None and local_path(path) is None:
        return pq.read_table(pa.BufferReader(read_bytes(path)))
    with open_read(path) as handle:
        return pq.read_table(handle, columns=columns)


@retried
def digest(path: str) -> str:
    """The sha256 of a file's bytes, as hex."""
    running = hashlib.sha256()
    with open_read(path) as handle:
        while chunk := handle.read(_CHUNK):
            running.update(chunk)
    return running.hexdigest()


@retried
def sample_digest(path: str) -> str:
    """The sha256 (hex) of a file's size and of 16 slices of 64 KiB at equal distances, its two ends among them.

    Files up to 1 MiB are covered whole. Of larger ones this finds what is cut, swapped or overwritten, not every bit.
    """
    length = size(path)
    running = hashlib.sha256(str(length).encode())
    with open_read(path) as handle:
        if length <= _SLICES * _SLICE:
            running.update(handle.read())
        else:
            for number in range(_SLICES):
                handle.seek((length - _SLICE) * number // (_SLICES - 1))
                running.update(handle.read(_SLICE))
    return running.hexdigest()


def file_entry(directory: str, name: str) -> dict[str, Any]:
    """What a manifest says of one file: its name below the directory, its bytes and its sha256."""
    path = join(directory, name)
    return {"path": name, "bytes": size(path), "sha256": digest(path)}


def file_problem(directory: str, entry: Mapping[str, Any]) -> str | None:
    """What is wrong with a file that a manifest lists as :func:`file_entry` does; None when it is as it was written."""
    name, path = entry["path"], join(directory, entry["path"])
    if not exists(path):
        return f"{name} is missing."
    if (found := size(path)) != entry["bytes"]:
        return f"{name} has {found} bytes instead of {entry['bytes']}."
    return None if digest(path) == entry["sha256"] else f"{name} has another sha256 than the manifest says."
