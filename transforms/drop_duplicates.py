"""drop_duplicates: of captions with the same text the first by file and row stays, in whatever order they come."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
from apache_beam.coders import Coder
from apache_beam.pvalue import PCollection

from sonogloss.records import CaptionLine

# Where a line stood, so that "first" means the same on every runner: (number of the file, begin of the part, row).
Placed = tuple[tuple[int, int, int], CaptionLine]


def text_key(text: str) -> bytes:
    """128 bits of a text's digest: two texts of a hundred million share one with a chance of 1e-23."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def first(lines: Iterable[Placed]) -> Placed:
    """The line that stands first."""
    return min(lines, key=lambda placed: placed[0])


class PlacedCoder(Coder):
    """A placed line, or none, as JSON: a third of what pickle takes, and nothing is run when it is read."""

    def encode(self, value: Placed | None) -> bytes:
        """The bytes of a line."""
        if value is None:
            return b""
        place, line = value
        return json.dumps(
            [place, line.id, line.text, line.source, line.extra], ensure_ascii=False, separators=(",", ":")
        ).encode("utf-8", "surrogatepass")

    def decode(self, encoded: bytes) -> Placed | None:
        """The line of these bytes."""
        if not encoded:
            return None
        place, number, text, source, extra = json.loads(encoded.decode("utf-8", "surrogatepass"))
        return (place[0], place[1], place[2]), CaptionLine(id=number, text=text, source=source, extra=extra)

    def is_deterministic(self) -> bool:
        """Keys are never lines."""
        return False


class First(beam.CombineFn):
    """The line that stands first; what is held is one line a text, however often it occurs."""

    def create_accumulator(self) -> Placed | None:
        return None

    def add_input(self, accumulator: Placed | None, placed: Placed) -> Placed:
        return placed if accumulator is None else first([accumulator, placed])

    def merge_accumulators(self, accumulators: Iterable[Placed | None]) -> Placed | None:
        found = [each for each in accumulators if each is not None]
        return first(found) if found else None

    def extract_output(self, accumulator: Placed) -> CaptionLine:
        return accumulator[1]

    def get_accumulator_coder(self) -> Coder:
        return PlacedCoder()


class DropDuplicates(beam.PTransform[PCollection[Placed], PCollection[CaptionLine]]):
    """Caption lines with their places -> each text once. Only digests and lines are shuffled, never vectors."""

    def expand(self, pcoll: PCollection[Placed]) -> PCollection[CaptionLine]:
        return (
            pcoll
            | "KeyByText" >> beam.Map(_keyed).with_output_types(tuple[bytes, Any])
            | "First" >> beam.CombinePerKey(First())  # type: ignore[no-untyped-call]  # of Beam
            | "Line" >> beam.Values().with_output_types(CaptionLine)
        )


def _keyed(placed: Placed) -> tuple[bytes, Placed]:
    return text_key(placed[1].text), placed
