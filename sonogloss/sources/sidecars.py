"""WebDataset's sidecars: a JSON object or a text beside a recording of the same name becomes its `extra`.

`dir/000.json` and `dir/000.txt` belong to `dir/000.flac` (the name up to its last dot) and to `dir/000.left.flac` (up
to its first). They need not stand next to each other: they are joined over a stretch of the archive, so that memory
does not grow with it. What finds no recording there is said to be left out.
"""

from __future__ import annotations

import json
import posixpath
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sonogloss.sources.carried import carried, joined
from sonogloss.sources.names import ending
from sonogloss.sources.source import SkipCode, Skipped, Source

ENDINGS = frozenset({".json", ".txt"})
STRETCH = 512
"""How many recordings and sidecars later a recording is handed out."""


_ESCAPES = 8  # a character of JSON is at most so many in Python's notation


def sidecar_fields(name: str, content: bytes) -> dict[str, Any]:
    """What a sidecar says: the fields of a JSON object, or the text under `txt`.

    Raises:
        ValueError: it is not a JSON object.
    """
    if ending(name) == ".txt":
        return {"txt": content.decode("utf-8-sig", "replace").strip()}
    try:
        fields = json.loads(content)
    except RecursionError as error:
        raise ValueError("too deep") from error
    if not isinstance(fields, dict):
        raise ValueError("not an object")
    return carried(fields, _ESCAPES * len(content))


class SidecarJoin:
    """Recordings and sidecars in, in an archive's order; recordings with their sidecars out, in the same order."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._clock = 0
        self._recordings: deque[tuple[int, Source]] = deque()
        self._sidecars: deque[tuple[int, str]] = deque()
        self._fields: dict[str, dict[str, dict[str, Any]]] = {}  # by name up to the dot, then by the sidecar's name
        self._used: set[str] = set()

    def recording(self, source: Source) -> Iterator[Source | Skipped]:
        """Take a recording; what has waited long enough comes out."""
        self._recordings.append((self._clock, source))
        return self._tick()

    def sidecar(self, name: str, fields: dict[str, Any]) -> Iterator[Source | Skipped]:
        """Take a sidecar; what has waited long enough comes out."""
        self._sidecars.append((self._clock, name))
        self._fields.setdefault(posixpath.splitext(name)[0], {})[name] = fields
        return self._tick()

    def rest(self) -> Iterator[Source | Skipped]:
        """All that still waits, at the end of the archive."""
        self._clock += 3 * STRETCH
        return self._out()

    def _tick(self) -> Iterator[Source | Skipped]:
        self._clock += 1
        return self._out()

    def _out(self) -> Iterator[Source | Skipped]:
        while self._recordings and self._recordings[0][0] < self._clock - STRETCH:
            yield self._joined(self._recordings.popleft()[1])
        while self._sidecars and self._sidecars[0][0] < self._clock - 2 * STRETCH:
            name = self._sidecars.popleft()[1]
            stem = posixpath.splitext(name)[0]
            self._fields[stem].pop(name)
            if not self._fields[stem]:
                del self._fields[stem]
            if name in self._used:
                self._used.remove(name)
            else:
                reason = "It is not audio, and no recording of its name stands near it."
                yield Skipped(uri=self._uri, member=name, code=SkipCode.NOT_AUDIO, reason=reason)

    def _joined(self, source: Source) -> Source:
        folder, base = posixpath.split(source.member or "")
        stems = [posixpath.join(folder, base.partition(".")[0]), posixpath.join(folder, posixpath.splitext(base)[0])]
        extra: dict[str, Any] = {}
        for stem in dict.fromkeys(stems):
            for name, fields in self._fields.get(stem, {}).items():
                self._used.add(name)
                extra = joined(extra, fields)
        return replace(source, extra=extra) if extra else source
