"""embed_audio: batches of clips -> the same with their CLAP embeddings; the samples end here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import PCollection

from sonogloss.clap import Clap
from sonogloss.errors import Code
from sonogloss.records import DeadLetter, FloatArray
from transforms.isolate import dead_letter, failure, run_isolated
from transforms.models import ClapReference
from transforms.work import NO_VECTORS, Batch, timed

STAGE = "embed_audio"
_NO_SAMPLES: FloatArray = np.zeros(0, np.float32)


def embed_clips(batch: Batch, clap: Clap) -> Batch:
    """Embed the clips of a batch and let go of their samples.

    Returns:
        The batch with `embeddings`: float32 [clips, dim], unit rows. A clip that the model fails on, or whose embedding
        is not finite, becomes a dead letter.
    """
    outcomes = run_isolated(lambda clips: list(clap.embed_audio([clip.samples for clip in clips])), batch.clips)
    failures: dict[int, DeadLetter] = {}
    vectors: list[FloatArray] = []
    for row, (clip, outcome) in enumerate(zip(batch.clips, outcomes, strict=True)):
        if isinstance(outcome, Exception):
            failures[row] = failure(clip, STAGE, outcome)
        elif not np.isfinite(outcome).all():
            failures[row] = dead_letter(clip, STAGE, Code.NOT_FINITE, "The embedding of the clip is not finite.")
        else:
            vectors.append(outcome)
    batch = replace(batch.without(failures), embeddings=np.stack(vectors) if vectors else NO_VECTORS)
    return replace(batch, clips=tuple(replace(clip, samples=_NO_SAMPLES) for clip in batch.clips))


class _EmbedAudioFn(beam.DoFn):
    def __init__(self, clap: ClapReference) -> None:
        self._reference = clap

    def setup(self) -> None:
        self._clap = self._reference.load()

    def process(self, batch: Batch) -> Iterator[Batch]:
        yield timed(STAGE, embed_clips, batch, self._clap)


class EmbedAudio(beam.PTransform[PCollection[Batch], PCollection[Batch]]):
    """Batches -> batches with embeddings, see :func:`embed_clips`."""

    def __init__(self, clap: ClapReference) -> None:
        super().__init__()
        self._clap = clap

    def expand(self, pcoll: PCollection[Batch]) -> PCollection[Batch]:
        return pcoll | beam.ParDo(_EmbedAudioFn(self._clap))
