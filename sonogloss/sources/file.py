"""A file of its own: the container of one recording."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sonogloss.errors import ClipError
from sonogloss.sources.handles import Opened
from sonogloss.sources.names import looks_like_audio
from sonogloss.sources.places import Entry, open_file
from sonogloss.sources.source import Skipped, Source, SourceLimits

ENDINGS: tuple[str, ...] = ()


def recognizes(head: bytes, handle: Opened) -> bool:
    """Is this a recording?"""
    return looks_like_audio(head)


def list_members(entry: Entry, limits: SourceLimits) -> Iterator[Source | Skipped]:
    """The file. It is not opened."""
    yield Source(uri=entry.uri, bytes=entry.bytes, version=entry.version, container="file")


def open_members(
    uri: str, sources: Sequence[Source], limits: SourceLimits
) -> Iterator[tuple[Source, Opened | ClipError]]:
    """The same file for each source, which are ranges of it."""
    for source in sources:
        try:
            opened = open_file(uri, limits, size=source.bytes)
        except ClipError as error:
            yield source, error
            continue
        with opened:
            yield source, opened
