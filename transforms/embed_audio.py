"""embed_audio: batches of clips -> the same with their CLAP embeddings; the samples end here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import PCollection

from sonogloss.clap import Clap
from sonogloss.errors import Code
from sonogloss.records import Clip, DeadLetter, FloatArray
from sonogloss.transforms.isolate import dead_letter, failure, run_isolated
from sonogloss.transforms.models import ClapReference
from sonogloss.transforms.work import NO_VECTORS, Batch, timed

STAGE = "embed_audio"
_NO_SAMPLES: FloatArray = np.zeros(0, np.float32)


def embed_clips(batch: Batch, clap: Clap, *, frames: bool = False) -> Batch:
    """Embed the clips of a batch and let go of their samples.

    Args:
        batch: clips with samples.
        clap: the model.
        frames: embed the frames of each clip too (see sonogloss.clap.frames).

    Returns:
        The batch with `embeddings`: float32 [clips, dim], unit rows, and `frames` [clips, frames, dim] where asked for.
        A clip that the model fails on, or whose embedding is not finite, becomes a dead letter.
    """
    batch, columns = embed_isolated(
        batch, lambda clips: _embed([clip.samples for clip in clips], clap, frames), stage=STAGE
    )
    batch = replace(batch, embeddings=columns[0], frames=columns[1] if frames else NO_VECTORS)
    return replace(batch, clips=tuple(replace(clip, samples=_NO_SAMPLES) for clip in batch.clips))


def embed_isolated(
    batch: Batch, embed: Callable[[Sequence[Clip]], list[tuple[FloatArray, ...]]], *, stage: str
) -> tuple[Batch, list[FloatArray]]:
    """Embed the clips of a batch so that one on which the model fails costs nobody else.

    Args:
        batch: clips with samples.
        embed: from clips to an array, or several, for each.
        stage: what dead letters name as the step that failed.

    Returns:
        The batch without clips that failed or have an embedding that is not finite, which are dead letters now; and
        the arrays of the others, each kind as one with a row a clip.
    """
    outcomes = run_isolated(embed, batch.clips)
    failures: dict[int, DeadLetter] = {}
    vectors: list[tuple[FloatArray, ...]] = []
    for row, (clip, outcome) in enumerate(zip(batch.clips, outcomes, strict=True)):
        if isinstance(outcome, Exception):
            failures[row] = failure(clip, stage, outcome)
        elif not all(np.isfinite(part).all() for part in outcome):
            failures[row] = dead_letter(clip, stage, Code.NOT_FINITE, "The embedding of the clip is not finite.")
        else:
            vectors.append(outcome)
    columns = [np.stack(column) for column in zip(*vectors, strict=True)] or [NO_VECTORS, NO_VECTORS]
    return batch.without(failures), columns


def _embed(waveforms: list[FloatArray], clap: Clap, frames: bool) -> list[tuple[FloatArray, ...]]:
    if not frames:
        return [(vector,) for vector in clap.embed_audio(waveforms)]
    # Here and not above: torch belongs to the worker, and captioning needs no frames.
    from sonogloss.clap.frames import embed_frames

    return list(zip(*embed_frames(clap, waveforms), strict=True))


class _EmbedAudioFn(beam.DoFn):
    def __init__(self, clap: ClapReference, frames: bool) -> None:
        self._reference = clap
        self._frames = frames

    def setup(self) -> None:
        self._clap = self._reference.load()

    def process(self, batch: Batch) -> Iterator[Batch]:
        yield timed(STAGE, embed_clips, batch, self._clap, frames=self._frames)


class EmbedAudio(beam.PTransform[PCollection[Batch], PCollection[Batch]]):
    """Batches -> batches with embeddings, see :func:`embed_clips`."""

    def __init__(self, clap: ClapReference, *, frames: bool = False) -> None:
        super().__init__()
        self._fn = _EmbedAudioFn(clap, frames)

    def expand(self, pcoll: PCollection[Batch]) -> PCollection[Batch]:
        return pcoll | beam.ParDo(self._fn)
