"""CLAP similarity: the cosine between a caption and the clip it describes, both embedded by one CLAP.

It needs no references. It favors captions that the same CLAP retrieved or chose, so compare it between runs with that
CLAP only, and use the other metrics beside it. The corpus score is the mean of the clips'.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sonogloss.records import FloatArray


def clap_sim(caption_embeddings: FloatArray, audio_embeddings: FloatArray) -> FloatArray:
    """Cosines of captions with their clips.

    Args:
        caption_embeddings: [n, dim], need not be unit rows.
        audio_embeddings: [n, dim], row i belongs to caption i.

    Returns:
        float32 [n] in [-1, 1]; a row of zeros scores 0. A row does not depend on the others.
    """
    products = (_double(caption_embeddings) * _double(audio_embeddings)).sum(axis=1)
    norms = np.linalg.norm(_double(caption_embeddings), axis=1) * np.linalg.norm(_double(audio_embeddings), axis=1)
    cosines = np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
    return np.clip(cosines, -1, 1).astype(np.float32)


def _double(values: FloatArray) -> npt.NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)
