"""Open recordings: one, or many in the order of their containers."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import groupby

from sonogloss.errors import ClipError, Code
from sonogloss.sources.handles import Opened
from sonogloss.sources.places import Kind, look
from sonogloss.sources.registry import container, kind_of
from sonogloss.sources.source import Source, SourceLimits


def open_members(
    sources: Iterable[Source], *, limits: SourceLimits | None = None
) -> Generator[tuple[Source, Opened | ClipError], None, None]:
    """Open sources one after the other; what lies together in an archive is read in one pass over it.

    Args:
        sources: in any order, but the members of one archive next to each other.
        limits: what is accepted.

    Yields:
        Every source once, with a handle that lives until the next one is asked for, or with why there is none. The
        members of a packed tar come in the order of the archive. :meth:`Opened.check` the handle after reading.
    """
    limits = limits or SourceLimits()
    for (uri, kind), group in groupby(sources, key=lambda source: (source.uri, source.container)):
        together = list(group)
        try:
            kind = kind or _kind(together[0])
        except ClipError as error:
            yield from ((source, error) for source in together)
            continue
        yield from container(kind).open_members(uri, together, limits)


@contextmanager
def open_source(source: Source, *, limits: SourceLimits | None = None) -> Iterator[Opened]:
    """Open one source. Many members of one archive are opened faster by :func:`open_members`.

    Raises:
        ClipError: it cannot be opened; or, at the end, a read failed that looked like the end of the bytes.
    """
    with closing(open_members([source], limits=limits)) as opening:
        _, opened = next(opening)
        if isinstance(opened, ClipError):
            raise opened
        try:
            yield opened
        except Exception:
            opened.check()  # what a decoder says of bytes that ended early is not the reason
            raise
        opened.check()


def _kind(source: Source) -> str:
    """The kind of container of a source that does not say so, as in a dead letter."""
    entry = look(source.uri)
    if entry is None or entry.kind is not Kind.FILE:
        raise ClipError(Code.READ_ERROR, f"This is {entry.what or 'a folder'}." if entry else "There is no such file.")
    if source.member is None:
        return "file"
    kind = kind_of(entry)
    if kind in (None, "file", "listing"):
        raise ClipError(Code.READ_ERROR, "The file is not an archive that can be read, so it has no such member.")
    assert kind is not None
    return kind
