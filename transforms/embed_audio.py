"""embed_audio: batches of clips -> the same with their CLAP embeddings; the samples end here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from sonogloss.clap import Clap
from sonogloss.records import Clip, FloatArray
from sonogloss.transforms.isolate import check_finite, drop_failures, run_isolated
from sonogloss.transforms.work import NO_VECTORS, Batch, without_samples

STAGE = "embed_audio"


def embed_audio(batch: Batch, clap: Clap, *, frames: bool = False) -> Batch:
    """Embed the clips of a batch and let go of their samples.

    Args:
        batch: clips with samples.
        clap: the model.
        frames: embed the frames of each clip too (see sonogloss.clap.frames).

    Returns:
        The batch with `embeddings`: float32 [clips, dim], unit rows, and `frames` [clips, frames, dim] where asked for.
        A clip that the model fails on, or whose embedding is not finite, becomes a dead letter.
    """

    def embed(clips: Sequence[Clip]) -> list[tuple[FloatArray, ...]]:
        waveforms = [clip.samples for clip in clips]
        if not frames:
            return [(vector,) for vector in clap.embed_audio(waveforms)]
        # Here and not above: torch belongs to the worker, and captioning needs no frames.
        from sonogloss.clap.frames import embed_frames

        return list(zip(*embed_frames(clap, waveforms), strict=True))

    batch, columns = embed_isolated(batch, embed, stage=STAGE)
    batch = replace(batch, embeddings=columns[0], frames=columns[1] if frames else NO_VECTORS)
    return replace(batch, clips=tuple(without_samples(clip) for clip in batch.clips))


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
    batch, vectors = drop_failures(
        batch, run_isolated(embed, batch.clips, stage=stage), stage=stage, check=lambda parts: check_finite(*parts)
    )
    return batch, [np.stack(column) for column in zip(*vectors, strict=True)] or [NO_VECTORS, NO_VECTORS]
