"""embed_text: the captions of one shard -> the same, in order of id, with their CLAP text embeddings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import PCollection

from sonogloss.clap import Clap
from sonogloss.records import CaptionLine, FloatArray
from sonogloss.transforms.batch_step import Step
from sonogloss.transforms.models import ClapReference
from sonogloss.transforms.progress_file import note

BATCH = 256  # texts a call; equally long ones share a call, see `embed_shard`


@dataclass(frozen=True, kw_only=True, eq=False)
class EmbeddedShard:
    """Captions in order of id and their vectors: float32 [captions, dim], unit rows."""

    number: int
    lines: tuple[CaptionLine, ...]
    vectors: FloatArray


def shard_number(caption_id: int, shards: int) -> int:
    """Which shard a caption belongs to: ids are uniform 63-bit numbers, so equal ranges of ids are equal shares."""
    return caption_id * shards >> 63


def embed_shard(shard: tuple[int, Iterable[CaptionLine]], clap: Clap, progress: str | None = None) -> EmbeddedShard:
    """Embed the captions of a shard.

    Texts go through the model in order of length, because a batch is as wide as its longest text; they come back in
    order of id.

    Args:
        shard: its number, and its captions in any order, no id twice.
        clap: the model.
        progress: a local file to note progress in.
    """
    number, lines = shard
    ordered = sorted(lines, key=lambda line: line.id)
    by_length = sorted(range(len(ordered)), key=lambda row: (len(ordered[row].text), row))
    vectors: FloatArray = np.empty((len(ordered), clap.dim), np.float32)
    for start in range(0, len(by_length), BATCH):
        rows = by_length[start : start + BATCH]
        vectors[rows] = clap.embed_text([ordered[row].text for row in rows])
        note(progress, done=len(rows))
    return EmbeddedShard(number=number, lines=tuple(ordered), vectors=vectors)


class EmbedText(beam.PTransform[PCollection[CaptionLine], PCollection[EmbeddedShard]]):
    """Distinct captions -> embedded shards.

    Args:
        clap: the model.
        shards: how many shards, one number as a side input.
        progress: a local file to note progress in, None for none.
    """

    def __init__(self, clap: ClapReference, shards: beam.pvalue.AsSingleton, progress: str | None) -> None:
        super().__init__()
        self._clap, self._shards, self._progress = clap, shards, progress

    def expand(self, pcoll: PCollection[CaptionLine]) -> PCollection[EmbeddedShard]:
        return (
            pcoll
            | "Shard" >> beam.Map(lambda line, shards: (shard_number(line.id, shards), line), self._shards)
            | "Gather" >> beam.GroupByKey()
            | "Embed" >> Step(embed_shard, clap=self._clap, progress=self._progress)
        )
