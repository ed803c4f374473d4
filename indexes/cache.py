"""Datastores on this machine: what lies elsewhere is copied once, checked on the way, and then memory-mapped."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from sonogloss import files
from sonogloss.errors import StoreFormatError
from sonogloss.indexes.layout import FileEntry, Manifest, to_json

_CHUNK = 1 << 20


def default_cache() -> str:
    """Where copies lie unless told otherwise: `$XDG_CACHE_HOME/sonogloss`, by default `~/.cache/sonogloss`."""
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "sonogloss")


CHECKS = ("sample", "full")
"""How much of a file is compared with the manifest before it is used."""


def localise(
    directory: str, manifest: Manifest, entries: Iterable[FileEntry], cache_dir: str | None, check: str = "sample"
) -> str:
    """A local directory that holds the listed files of a datastore, as far as `check` looks as they were written.

    A local datastore is its own; a remote one is copied below the cache, into a folder named after its manifest, file
    by file under temporary names, by one process of the machine at a time. Digests are checked while copying.

    Args:
        directory: the datastore's path or URL.
        manifest: its manifest.
        entries: of the files that are needed.
        cache_dir: where copies lie; by default :func:`default_cache`.
        check: `sample` compares bytes and the digest of a sample (format 1 has bytes only), `full` all digests.

    Raises:
        StoreFormatError: a file is missing, or is not the one the manifest describes.
    """
    local = files.local_path(directory)
    if local is None:
        name = hashlib.sha256(json.dumps(to_json(manifest), sort_keys=True).encode()).hexdigest()[:32]
        local = files.join(cache_dir or default_cache(), name)
        with _alone(local):
            for entry in entries:
                if not _complete(local, entry):
                    _copy(directory, local, entry)
                _check(directory, local, entry, check)
        return local
    for entry in entries:
        _check(directory, local, entry, check)
    return local


def check_files(directory: str, manifest: Manifest, check: str = "sample") -> None:
    """Compare all files of a datastore with its manifest where they lie; nothing is copied.

    Args:
        directory: the datastore's path or URL.
        manifest: its manifest.
        check: as of :func:`localise`.

    Raises:
        StoreFormatError: a file is missing, or is not the one the manifest describes.
    """
    for entry in manifest.files():
        _check(directory, directory, entry, check)


@contextmanager
def _alone(folder: str) -> Iterator[None]:
    """One process of this machine copies, the others wait for it."""
    name = f"sonogloss-{os.getuid()}-{hashlib.sha256(folder.encode()).hexdigest()[:16]}.lock"
    with open(os.path.join(tempfile.gettempdir(), name), "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _check(directory: str, where: str, entry: FileEntry, check: str) -> None:
    if not _complete(where, entry):
        raise _damaged(directory, entry, "is missing or has lost bytes")
    path = files.join(where, entry.path)
    if check == "full":
        same = files.digest(path) == entry.sha256
    else:
        same = entry.sample is None or files.sample_digest(path) == entry.sample
    if not same:
        raise _damaged(directory, entry, "is not as it was written: its digest differs")


def _complete(where: str, entry: FileEntry) -> bool:
    path = files.join(where, entry.path)
    return files.exists(path) and files.size(path) == entry.bytes


def _copy(directory: str, local: str, entry: FileEntry) -> None:
    running = hashlib.sha256()
    try:
        with (
            files.open_read(files.join(directory, entry.path)) as source,
            files.atomic_write(files.join(local, entry.path)) as target,
        ):
            while chunk := source.read(_CHUNK):
                running.update(chunk)
                target.write(chunk)
            if running.hexdigest() != entry.sha256:
                raise _damaged(directory, entry, "has another sha256 than its manifest says")
    except FileNotFoundError as error:
        raise _damaged(directory, entry, "is missing") from error


def _damaged(directory: str, entry: FileEntry, how: str) -> StoreFormatError:
    return StoreFormatError(
        f"{entry.path!r} of the datastore {directory!r} {how}.",
        "Run `sonogloss verify` on it; restore the file or build the datastore again.",
    )
