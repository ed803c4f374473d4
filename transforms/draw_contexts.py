"""draw_contexts: parts of a corpus -> the captions that belong with each, as tables: some of a band, or the nearest.

Every caption is compared with a whole datastore, part by part on as many workers as there are; stores are
memory-mapped, so that neither fills a worker's memory. The result does not depend on the parts.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa

from sonogloss import files
from sonogloss.errors import StoreFormatError
from sonogloss.methods.plan import Neighbours
from sonogloss.records import IntArray
from sonogloss.training.corpus import CaptionRange, EmbeddedCaptions
from sonogloss.training.neighbours import draw_contexts, nearest
from sonogloss.transforms.models import DatastoreReference

CAPTIONS_A_PART = 50_000


@dataclass(frozen=True, kw_only=True)
class CorpusPart:
    """Captions `start` up to and without `end`, and the file that is written for them."""

    start: int
    end: int
    path: str


def plan_parts(count: int, directory: str, size: int = CAPTIONS_A_PART) -> list[CorpusPart]:
    """The parts of a corpus of `count` captions."""
    starts = range(0, count, size)
    return [
        CorpusPart(start=start, end=min(count, start + size), path=files.join(directory, f"part-{number:05d}.parquet"))
        for number, start in enumerate(starts)
    ]


def draw_folder(corpus: DatastoreReference, datastore: DatastoreReference, draw: Neighbours) -> str:
    """The folder of a draw, named by a digest of the two stores and the draw: another draw never finds these files."""
    origin = json.dumps([corpus.fingerprint, datastore.fingerprint, asdict(draw)])
    return f"contexts-{hashlib.sha256(origin.encode()).hexdigest()[:16]}"


def draw_part(part: CorpusPart, corpus: EmbeddedCaptions, datastore: EmbeddedCaptions, draw: Neighbours) -> IntArray:
    """Rows of the datastore for each caption of a part [n, count], filled up with -1."""
    captions = CaptionRange(corpus, part.start, part.end)
    if draw.band is None:
        return nearest(captions, datastore, count=draw.count)[0]
    return draw_contexts(captions, datastore, count=draw.count, band=draw.band, seed=draw.seed)


def write_part(part: CorpusPart, rows: IntArray) -> None:
    """Write the rows of a part [n, count]: a column `rows` with a list a caption."""
    lists = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel(), pa.int64()), rows.shape[1])
    files.write_table(part.path, pa.table({"rows": lists}))


def read_parts(parts: list[CorpusPart]) -> IntArray:
    """The rows of all captions [captions, count].

    Raises:
        StoreFormatError: a file does not hold its part.
    """
    found = []
    for part in parts:
        column = files.read_table(part.path, ["rows"]).column("rows").combine_chunks()
        rows = np.asarray(column.flatten()).reshape(len(column), -1)
        if len(rows) != part.end - part.start:
            raise StoreFormatError(f"{part.path!r} is not whole.", "Remove it; it is made again.")
        found.append(rows)
    return np.concatenate(found)


def write_drawn(
    part: CorpusPart, corpus: EmbeddedCaptions, datastore: EmbeddedCaptions, draw: Neighbours
) -> CorpusPart:
    """Draw for a part and write its file, unless it is there: files are written whole."""
    if not files.exists(part.path):
        write_part(part, draw_part(part, corpus, datastore, draw))
    return part
