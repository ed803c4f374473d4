"""score: the cosine between each caption and its clip in the CLAP's space."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sonogloss.clap import Clap
from sonogloss.records import FloatArray
from sonogloss.transforms.isolate import check_finite, drop_failures, run_isolated
from sonogloss.transforms.work import NO_VECTORS, Batch

STAGE = "score"


def score(batch: Batch, clap: Clap) -> Batch:
    """Cosine, in [-1, 1], between each caption and its clip's own audio embedding, not the projected one.

    Captions that this CLAP chose among several have their scores already. A caption that the model fails on, or whose
    embedding is not finite, makes its clip a dead letter.
    """
    if batch.scores:
        return batch
    batch = embed_captions(batch, clap)
    pairs = zip(batch.caption_embeddings, batch.embeddings, strict=True)
    return replace(batch, scores=tuple(cosine(*pair) for pair in pairs), caption_embeddings=NO_VECTORS)


def embed_captions(batch: Batch, clap: Clap) -> Batch:
    """Embed each caption, as :func:`score` does; what chooses among captions later compares these with the sound."""
    outcomes = run_isolated(clap.embed_text, batch.captions, stage=STAGE)
    batch, vectors = drop_failures(batch, outcomes, stage=STAGE, check=check_finite)
    return replace(batch, caption_embeddings=np.stack(vectors) if vectors else NO_VECTORS)


def cosine(text: FloatArray, audio: FloatArray) -> float:
    """Of two unit vectors, in [-1, 1]."""
    return float(np.clip(text @ audio, -1.0, 1.0))
