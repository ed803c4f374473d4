"""The kinds of containers, by name. A new one is a module with the functions of :class:`Container` and a line here."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from typing import Protocol, cast

from sonogloss.errors import ClipError, OptionError
from sonogloss.sources.handles import Opened
from sonogloss.sources.names import AUDIO_ENDINGS, ending, has_ending, looks_like_audio
from sonogloss.sources.places import Entry, open_file
from sonogloss.sources.source import Skipped, Source, SourceLimits

CONTAINERS = {
    "file": "sonogloss.sources.file",
    "tar": "sonogloss.sources.tar",
    "zip": "sonogloss.sources.zip",
    "parquet": "sonogloss.sources.parquet",
    "listing": "sonogloss.sources.listing",
}
"""Asked in this order whose a file is."""

HEAD_BYTES = 512
"""How many first bytes :meth:`Container.recognizes` is shown."""


class Container(Protocol):
    """A kind of container: a module with these names."""

    ENDINGS: tuple[str, ...]
    """Names that say so, in lower case."""

    def recognizes(self, head: bytes, handle: Opened) -> bool:
        """Does the content say so? `head` are the first bytes; the handle may be read from wherever it stands."""
        ...

    def list_members(self, entry: Entry, limits: SourceLimits) -> Iterator[Source | Skipped]:
        """What is inside, in the container's order, one at a time. What is wrong with it is the last thing said."""
        ...

    def open_members(
        self, uri: str, sources: Sequence[Source], limits: SourceLimits
    ) -> Iterator[tuple[Source, Opened | ClipError]]:
        """Each source with its handle, or with the reason why there is none; a handle lives until the next one."""
        ...


def container(name: str) -> Container:
    """A kind of container by its name.

    Raises:
        OptionError: there is no such kind.
    """
    if name not in CONTAINERS:
        raise OptionError(f"There is no kind of container {name!r}.", f"Choose one of {', '.join(CONTAINERS)}.")
    return cast(Container, importlib.import_module(CONTAINERS[name]))


def kind_of(entry: Entry) -> str | None:
    """Which kind of container a file is: "file" for a recording, None for nothing that is known here.

    What is named like audio is a recording, for the decoder will look at it. Otherwise the content decides, and where
    the content says nothing (it may be damaged), the ending.

    Raises:
        ClipError: READ_ERROR, it cannot be looked at.
    """
    if ending(entry.name) in AUDIO_ENDINGS:
        return "file"
    with open_file(entry.uri) as handle:
        head = handle.read(HEAD_BYTES)
        if looks_like_audio(head):
            return "file"
        for name in CONTAINERS:
            if container(name).recognizes(head, handle):
                return name
        handle.check()
    return named_like_a_container(entry.name)


def named_like_a_container(name: str) -> str | None:
    """The kind of container that a name's ending stands for."""
    return next((kind for kind in CONTAINERS if has_ending(name, container(kind).ENDINGS)), None)
