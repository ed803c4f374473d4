"""score: the cosine between each caption and its clip in the CLAP's space."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sonogloss.clap import Clap
from sonogloss.transforms.isolate import check_finite, drop_failures, run_isolated
from sonogloss.transforms.work import Batch

STAGE = "score"


def score(batch: Batch, clap: Clap) -> Batch:
    """Cosine, in [-1, 1], between each caption and its clip's own audio embedding, not the projected one.

    Captions that this CLAP chose among several have their scores already. A caption that the model fails on, or whose
    embedding is not finite, makes its clip a dead letter.
    """
    if batch.scores:
        return batch
    outcomes = run_isolated(clap.embed_text, batch.captions, stage=STAGE)
    batch, vectors = drop_failures(batch, outcomes, stage=STAGE, check=check_finite)
    cosines = (text @ audio for text, audio in zip(vectors, batch.embeddings, strict=True))
    return replace(batch, scores=tuple(float(np.clip(cosine, -1.0, 1.0)) for cosine in cosines))
