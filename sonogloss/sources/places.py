"""What lies at a place: files, folders and what may not be opened because it could wait for ever.

A place is an absolute local path or a URL, see :mod:`sonogloss.urls`.
"""

from __future__ import annotations

import datetime as dt
import errno
import heapq
import io
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import IO, Any

from sonogloss.errors import ClipError, Code, OptionError
from sonogloss.in_parallel import in_parallel
from sonogloss.retries import retry
from sonogloss.sources.handles import Opened, Window, in_memory, read_exactly, unreadable
from sonogloss.sources.names import left_out
from sonogloss.sources.pages import list_pages
from sonogloss.sources.source import SkipCode, Skipped, SourceLimits
from sonogloss.urls import child, file_system, is_chain, is_url

_BLOCK = 4 << 20  # bytes that one request asks a store for; four such blocks of a file are held
_WHOLE_BYTES = 16 << 20  # a recording of a store up to this size comes whole, in one request
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
        info = retry(lambda: fs.info(inner), what=uri)
    except FileNotFoundError:
        return None
    except Exception as error:  # every file system raises its own errors
        raise unreadable(error) from error
    return _remote_entry(uri if is_chain(uri) else str(fs.unstrip_protocol(inner)), info)


def described(uri: str, size: int, stamp: str) -> Entry:
    """The file at a place as somebody describes it; nobody looks.

    Args:
        uri: the place.
        size: its bytes.
        stamp: what changes with it, as a store has it: generation, etag, or of a local file its time in nanoseconds.

    Raises:
        OptionError: nobody here knows the protocol.
    """
    if is_url(uri) and not is_chain(uri):
        fs, inner = file_system(uri)
        uri = str(fs.unstrip_protocol(inner))
    return _remote_entry(uri, {"size": size, "generation": stamp})


def scan(folder: str) -> Iterator[Iterable[Entry]]:
    """What lies in a folder, sorted as its paths are: a folder's name counts with its slash.

    Of a local folder the names are held, and each file is looked at when its turn comes; of a store a page of names.

    Raises:
        ClipError: READ_ERROR, the folder cannot be listed; at once, or of a store at any page.
    """
    pages = _local_page(folder) if not is_url(folder) else _store_pages(folder)
    return chain([next(pages)], pages)


def _local_page(folder: str) -> Iterator[Iterable[Entry]]:
    try:
        with os.scandir(folder) as found:
            names = sorted((each.name + "/" * _leads_to_folder(each), each.is_symlink()) for each in found)
    except (OSError, ValueError) as error:
        raise unreadable(error) from error
    yield (_local_entry(os.path.join(folder, name.removesuffix("/")), linked) for name, linked in names)


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir(follow_symlinks=False)


def _store_pages(folder: str) -> Iterator[Iterable[Entry]]:
    try:
        fs, inner = file_system(folder)
        for page in list_pages(fs, inner, what=folder):
            infos = {str(info["name"]).rstrip("/"): info for info in page}
            infos.pop(inner.rstrip("/"), None)  # object stores keep an empty object in the place of a folder
            entries = [_remote_entry(child(folder, fs, name), info) for name, info in infos.items()]
            yield sorted(entries, key=lambda entry: entry.name + "/" * (entry.kind is Kind.FOLDER))
    except Exception as error:  # every file system raises its own errors
        raise unreadable(error) from error


Inside = Iterator[Iterable[Entry]] | ClipError | None
"""What lies in a folder, or why nobody can say; None where nobody has looked yet."""


def _with_inside(pages: Iterator[Iterable[Entry]], folder: str) -> Iterator[tuple[Entry | Skipped, Inside]]:
    """What lies in a folder, and inside the folders there, of which a store is asked for several together."""

    def look_inside(entry: Entry) -> Inside:
        try:
            return scan(entry.uri)
        except ClipError as error:
            return error

    try:
        for page in pages:
            if not is_url(folder):
                yield from ((entry, None) for entry in page)
                continue
            inside = in_parallel(look_inside, filter(_is_entered, page), place=folder)
            for entry in page:
                yield entry, next(inside) if _is_entered(entry) else None
    except ClipError as error:
        yield Skipped(uri=folder, code=error.code, reason=error.message), None


def _is_entered(entry: Entry) -> bool:
    return entry.kind is Kind.FOLDER and left_out(entry.name) is None


def walk(top: Entry) -> Iterator[Entry | Skipped]:
    """A folder and all that lies below it, parents first, each folder once.

    Folders behind links come last, so that what also lies in the tree itself is found there, and the nearest links
    first. Hidden folders and those of the system are left out and said to be.
    """
    seen: set[object] = set()
    starts = [(0, top.uri, top)]
    while starts:
        start = heapq.heappop(starts)[2]
        stack: list[Iterator[tuple[Entry | Skipped, Inside]]] = [iter([(start, None)])]
        while stack:
            entry, inside = next(stack[-1], (None, None))
            if entry is None:
                stack.pop()
            elif isinstance(entry, Skipped) or entry.kind is not Kind.FOLDER:
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
                    if isinstance(inside, ClipError):
                        raise inside
                    stack.append(_with_inside(inside or scan(entry.uri), entry.uri))
                except ClipError as error:
                    yield Skipped(uri=entry.uri, code=error.code, reason=error.message)


def open_file(uri: str, limits: SourceLimits | None = None, *, size: int | None = None) -> Opened:
    """Open a regular file or an object for reading in place; a pipe or a device is refused, never waited for.

    Args:
        uri: the place.
        limits: refuse a file of more than `max_bytes`; an archive may have any size, so it is opened without.
        size: bytes of an object, as a listing told. A small one then comes in one request.

    Raises:
        ClipError: READ_ERROR or LIMIT.
        OptionError: nobody here knows the protocol.
        TransientError: the store cannot be reached.
    """
    try:
        if not is_url(uri):
            base, found = _open_local(uri)
            try:
                _check_size(found, limits)
            except ClipError:
                base.close()
                raise
            return Opened(Window(base, 0, found, close_base=True))
        fs, inner = file_system(uri)
        return retry(lambda: _open_remote(fs, inner, uri, limits, size), what=uri)
    except (ClipError, OptionError):
        raise
    except Exception as error:  # every file system raises its own errors; each costs one file only
        raise unreadable(error) from error


def _open_remote(fs: Any, inner: str, uri: str, limits: SourceLimits | None, size: int | None) -> Opened:
    if size is not None:
        _check_size(size, limits)
    if size is not None and 0 < size <= _WHOLE_BYTES:
        # One byte more than was listed shows an object that grew meanwhile, and costs nothing.
        data = fs.cat_file(inner, start=0, end=size + 1)
        if len(data) == size:
            return in_memory(data)
    base = fs.open(inner, "rb", block_size=_BLOCK, cache_type="blockcache", cache_options={"maxblocks": 4})
    try:
        found = getattr(base, "size", None)
        if found is None:
            found = fs.info(inner).get("size")
        if found is None or not base.seekable():
            return _read_on(base, limits or SourceLimits())
        _check_size(found, limits)
    except BaseException:
        base.close()
        raise
    return Opened(Window(base, 0, found, close_base=True, url=uri))


def _check_size(size: int, limits: SourceLimits | None) -> None:
    if limits is not None and size > limits.max_bytes:
        raise ClipError(Code.LIMIT, f"The file has {size:,} bytes; the limit is {limits.max_bytes:,}.")


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
    path = next(part for part in uri.split("::") if "://" in part) if is_chain(uri) else uri
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
