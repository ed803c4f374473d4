"""What may be opened: regular files and objects, and nothing that could wait for ever.

A place is an absolute local path or a URL. A local path is only ever a name, whatever letters are in it; fsspec, which
reads `::` and brackets, sees URLs alone.
"""

from __future__ import annotations

import datetime as dt
import errno
import heapq
import io
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import IO, Any

import fsspec
from fsspec.core import url_to_fs

from sonogloss.errors import ClipError, Code, OptionError
from sonogloss.sources.handles import Opened, Window, in_memory, read_exactly, unreadable
from sonogloss.sources.names import left_out
from sonogloss.sources.source import SkipCode, Skipped, SourceLimits

_BLOCK = 1 << 20
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# What says most surely that an object changed, best first.
_VERSIONS = (
    "generation", "md5Hash", "ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "modified", "created",
)  # fmt: skip
_OTHER_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Kind(StrEnum):
    """What lies at a place."""

    FILE = "file"
    FOLDER = "folder"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Entry:
    """What lies at a place.

    Attributes:
        uri: the place.
        name: its last part.
        kind: file, folder or neither.
        what: in words, what it is when it is neither.
        linked: it is a link to what it is.
        identity: of a folder: the same whichever way leads there.
        bytes: size of a file, when known.
        version: of a file, see :class:`~sonogloss.sources.source.Source`.
    """

    uri: str
    name: str
    kind: Kind
    what: str = ""
    linked: bool = False
    identity: object = None
    bytes: int | None = None
    version: str | None = None


def is_url(place: str) -> bool:
    """Is this a URL of a protocol that fsspec knows, or a chain of them, rather than a local path?"""
    first = place.partition("::")[0]
    found = _URL.match(place)
    return (found[1] if found else first if "::" in place else "") in _protocols()


def look(uri: str) -> Entry | None:
    """What lies at a place; None when nothing does.

    Raises:
        OptionError: nobody here knows the protocol.
        ClipError: READ_ERROR, nobody can say.
    """
    if not is_url(uri):
        try:
            found = os.lstat(uri)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise unreadable(error) from error
        return _local_entry(uri, stat.S_ISLNK(found.st_mode))
    fs, inner = file_system(uri)
    try:
        return _remote_entry(uri if _is_chain(uri) else str(fs.unstrip_protocol(inner)), fs.info(inner))
    except FileNotFoundError:
        return None
    except Exception as error:  # every file system raises its own errors
        raise unreadable(error) from error


def scan(folder: str) -> list[Entry]:
    """What lies in a folder, sorted as its paths are: a folder's name counts with its slash.

    Raises:
        ClipError: READ_ERROR, the folder cannot be listed.
    """
    try:
        if not is_url(folder):
            with os.scandir(folder) as found:
                entries = [_local_entry(os.path.join(folder, each.name), each.is_symlink()) for each in found]
        else:
            fs, inner = file_system(folder)
            infos = {str(info["name"]).rstrip("/"): info for info in fs.ls(inner, detail=True)}
            infos.pop(inner.rstrip("/"), None)  # object stores keep an empty object in the place of a folder
            entries = [_remote_entry(_child(folder, fs, name), info) for name, info in infos.items()]
    except Exception as error:  # every file system raises its own errors
        raise unreadable(error) from error
    return sorted(entries, key=lambda entry: entry.name + "/" * (entry.kind is Kind.FOLDER))


def walk(top: Entry) -> Iterator[Entry | Skipped]:
    """A folder and all that lies below it, parents first, each folder once.

    Folders behind links come last, so that what also lies in the tree itself is found there, and the nearest links
    first. Hidden folders and those of the system are left out and said to be.
    """
    seen: set[object] = set()
    starts = [(0, top.uri, top)]
    while starts:
        start = heapq.heappop(starts)[2]
        stack = [iter([start])]
        while stack:
            entry = next(stack[-1], None)
            if entry is None:
                stack.pop()
            elif entry.kind is not Kind.FOLDER:
                yield entry
            elif entry is not start and (why := left_out(entry.name)):
                yield Skipped(uri=entry.uri, code=why[0], reason=f"{why[1]} The folder was not entered.")
            elif entry is not start and entry.linked:
                heapq.heappush(starts, (entry.uri.count("/"), entry.uri, entry))
            elif entry.identity in seen:
                yield Skipped(uri=entry.uri, code=SkipCode.LOOP, reason="It leads to a folder that is listed anyway.")
            else:
                seen.add(entry.identity)
                yield entry
                try:
                    stack.append(iter(scan(entry.uri)))
                except ClipError as error:
                    yield Skipped(uri=entry.uri, code=error.code, reason=error.message)


def open_file(uri: str, limits: SourceLimits | None = None) -> Opened:
    """Open a regular file or an object for reading in place; a pipe or a device is refused, never waited for.

    Args:
        uri: the place.
        limits: refuse a file of more than `max_bytes`; an archive may have any size, so it is opened without.

    Raises:
        ClipError: READ_ERROR or LIMIT.
        OptionError: nobody here knows the protocol.
    """
    base: Any = None
    try:
        size: int | None
        if not is_url(uri):
            base, size = _open_local(uri)
        else:
            fs, inner = file_system(uri)
            base = fs.open(inner, "rb", block_size=_BLOCK, cache_type="blockcache", cache_options={"maxblocks": 8})
            size = getattr(base, "size", None)
            if size is None:
                size = fs.info(inner).get("size")
            if size is None or not base.seekable():
                return _read_on(base, limits or SourceLimits())
        if limits is not None and size > limits.max_bytes:
            raise ClipError(Code.LIMIT, f"The file has {size:,} bytes; the limit is {limits.max_bytes:,}.")
    except Exception as error:  # every file system raises its own errors; each costs one file only
        if base is not None:
            base.close()
        if isinstance(error, ClipError | OptionError):
            raise
        raise unreadable(error) from error
    return Opened(Window(base, 0, size, close_base=True))


def file_system(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path inside it.

    Raises:
        OptionError: nobody here knows the protocol, or its package is not installed.
    """
    try:
        if "::" not in url or _is_chain(url):
            fs, inner = url_to_fs(url)
            return fs, str(inner)
        kind = fsspec.get_filesystem_class(url.partition("://")[0])  # an object with :: in its name
        return kind(**kind._get_kwargs_from_urls(url)), str(kind._strip_protocol(url))
    except ImportError as error:
        remedy = "Install it with pip; gs:// comes with pip install 'sonogloss[gcp]'."
        raise OptionError(f"{url!r} needs a package that is not installed ({error}).", remedy) from error
    except ValueError as error:
        raise OptionError(f"{url!r} cannot be opened ({error}).", "Give a path, or a URL that fsspec knows.") from error


def _protocols() -> frozenset[str]:
    return frozenset(fsspec.available_protocols()) - {"file", "local"}


def _is_chain(url: str) -> bool:
    """Does `::` join two URLs here? Elsewhere it is part of a name."""
    first, *others = url.split("::")
    known = _protocols() | {"file", "local"}
    return first in known or any((found := _URL.match(part)) and found[1] in known for part in others)


def _child(parent: str, fs: Any, name: str) -> str:
    """The URL of what a file system calls `name`, listed at the URL `parent`."""
    if not _is_chain(parent):
        return str(fs.unstrip_protocol(name))
    first, _, rest = parent.partition("::")
    if "://" in first:
        return f"{first.partition('://')[0]}://{name}::{rest}"
    return f"{first}::{_child(rest, url_to_fs(rest)[0], name)}"


def _local_entry(path: str, linked: bool) -> Entry:
    name = os.path.basename(path)
    try:
        found = os.stat(path)
    except OSError as error:
        if linked and error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return Entry(uri=path, name=name, kind=Kind.OTHER, what="a link that leads nowhere", linked=True)
        return Entry(uri=path, name=name, kind=Kind.FILE, linked=linked)  # opening it will say what is wrong
    if stat.S_ISDIR(found.st_mode):
        identity = (found.st_dev, found.st_ino)
        return Entry(uri=path, name=name, kind=Kind.FOLDER, linked=linked, identity=identity)
    if stat.S_ISREG(found.st_mode):
        size, version = found.st_size, _local_version(found)
        return Entry(uri=path, name=name, kind=Kind.FILE, linked=linked, bytes=size, version=version)
    what = _OTHER_KINDS.get(stat.S_IFMT(found.st_mode), "neither a file nor a folder")
    return Entry(uri=path, name=name, kind=Kind.OTHER, what=what, linked=linked)


def _local_version(found: os.stat_result) -> str:
    return f"{found.st_size}-{found.st_mtime_ns}"


def _remote_entry(uri: str, info: Mapping[str, Any]) -> Entry:
    path = next(part for part in uri.split("::") if "://" in part) if _is_chain(uri) else uri
    name = path.rstrip("/").rpartition("/")[2]
    if info.get("type") == "directory":
        return Entry(uri=uri, name=name, kind=Kind.FOLDER, identity=uri)
    size = info.get("size")
    stamp = next((info[key] for key in _VERSIONS if info.get(key) is not None), None)
    if isinstance(stamp, dt.datetime):
        stamp = stamp.timestamp()
    version = None if size is None and stamp is None else f"{size}-{stamp}"
    return Entry(uri=uri, name=name, kind=Kind.FILE, bytes=None if size is None else int(size), version=version)


def _open_local(path: str) -> tuple[io.FileIO, int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            what = _OTHER_KINDS.get(stat.S_IFMT(found.st_mode), "a folder")
            raise ClipError(Code.READ_ERROR, f"This is {what}, not a file.")
        return io.FileIO(descriptor, closefd=True), found.st_size
    except BaseException:
        os.close(descriptor)
        raise


def _read_on(base: IO[bytes], limits: SourceLimits) -> Opened:
    """An object whose server tells no size or sends no ranges is read on, into memory, up to the limit of a member."""
    with base:
        data = read_exactly(base, limits.max_member_bytes + 1)
    if len(data) > limits.max_member_bytes:
        raise ClipError(Code.LIMIT, f"The file has more than {limits.max_member_bytes:,} bytes, the limit.")
    return in_memory(data)
