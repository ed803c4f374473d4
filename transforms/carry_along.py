"""carry_along: what a listing, table or sidecar says of a recording goes into its clips and dead letters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from sonogloss.records import Clip, DeadLetter
from sonogloss.sources import Source, printable
from sonogloss.sources.carried import as_json


def carry_along(source: Source, items: Iterable[Clip | DeadLetter]) -> Iterator[Clip | DeadLetter]:
    """The clips and dead letters of a source, with its id, its range and what stands beside it."""
    source_id = None if source.id is None else printable(source.id)
    span = (source.start_s, source.end_s)
    carried: dict[str, Any] = {"source_id": source_id, "extra": as_json(source.extra)}
    nothing = carried == {"source_id": None, "extra": None} and span == (None, None)
    for item in items:
        if nothing:
            yield item
        elif isinstance(item, Clip):
            yield replace(item, source_range=span, **carried)
        else:
            yield replace(item, start_s=span[0], end_s=span[1], **carried)
