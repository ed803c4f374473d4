"""drop_duplicates: of captions with the same text the first by file and line stays, in whatever order they come."""

from __future__ import annotations

from collections.abc import Iterable

import apache_beam as beam
from apache_beam.pvalue import PCollection

from sonogloss.records import CaptionLine

# Where a line stood, so that "first" means the same on every runner: (uri of the source file, line number).
Placed = tuple[tuple[str, int], CaptionLine]


def first(lines: Iterable[Placed]) -> Placed:
    """The line that stands first."""
    return min(lines, key=lambda placed: placed[0])


class DropDuplicates(beam.PTransform[PCollection[Placed], PCollection[CaptionLine]]):
    """Caption lines with their places -> each text once. Only ids and texts are shuffled, never vectors."""

    def expand(self, pcoll: PCollection[Placed]) -> PCollection[CaptionLine]:
        return (
            pcoll
            | "KeyById" >> beam.Map(lambda placed: (placed[1].id, placed))
            | "First" >> beam.CombinePerKey(first)
            | "Line" >> beam.Map(lambda keyed: keyed[1][1])
        )
