"""Settings that are measured, not guessed: the projection's temperature and the band of training contexts.

Both are looked up on validation scenes, whose seeds no benchmark uses.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recipes.event_scores import event_f1
from recipes.pocket.held_out import HeldOutScenes
from sonogloss.bridge import project
from sonogloss.methods import Captioner
from sonogloss.metrics import evaluate
from sonogloss.records import FloatArray
from sonogloss.soundscapes import mentioned

SCENES = 300
TEMPERATURES = (0.01, 0.015, 0.02, 0.03, 0.04, 0.06)
BANDS = ((0.6, 0.7), (0.7, 0.75), (0.75, 0.8), (0.8, 0.85), (0.85, 0.9), (0.9, 0.95), (0.95, 1.0))


def nearest(queries: FloatArray, captions: Sequence[str], embeddings: FloatArray, k: int) -> list[list[str]]:
    """The k captions nearest to each query, best first."""
    order = np.argsort(-(queries @ embeddings.T), axis=1, kind="stable")[:, :k]
    return [[captions[i] for i in row] for row in order]


def temperature_table(
    scenes: HeldOutScenes, audio: FloatArray, captioner: Captioner, captions: Sequence[str], embeddings: FloatArray
) -> dict[float, tuple[float, float]]:
    """CIDEr-D and event F1 at each projection temperature, with contexts; `audio` holds the scenes' embeddings."""
    contexts = nearest(audio, captions, embeddings, captioner.contexts)
    keys = [str(number) for number in range(len(contexts))]
    table = {}
    for temperature in TEMPERATURES:
        projected = project(audio, embeddings, temperature=temperature, renormalise=True)
        said = captioner.caption(projected, contexts)
        truth = dict(zip(keys, scenes.captions, strict=True))
        told = evaluate(dict(zip(keys, said, strict=True)), truth, metrics=["cider_d"])
        table[temperature] = (told.corpus[0].value, event_f1(said, scenes.names))
    return table


def band_table(
    scenes: HeldOutScenes, audio: FloatArray, captions: Sequence[str], embeddings: FloatArray, seed: int = 0
) -> dict[str, float]:
    """How right are retrieved captions: those that audio finds (top 3), and text neighbours by cosine.

    The band to train with is where text neighbours are as right as what audio finds.
    """
    found = [text for row in nearest(audio, captions, embeddings, 3) for text in row]
    table = {"audio": event_f1(found, [names for names in scenes.names for _ in range(3)])}
    rows = np.random.default_rng(seed).choice(len(captions), 500, replace=False)
    similarity = embeddings[rows] @ embeddings.T
    for low, high in BANDS:
        found, truth = [], []
        for row, line in zip(rows, similarity, strict=True):
            inside = np.flatnonzero((line > low) & (line < high))
            for i in inside[:: max(1, len(inside) // 3)][:3]:
                found.append(captions[i])
                truth.append(mentioned(captions[row]))
        table[f"{low:g}-{high:g}"] = event_f1(found, truth) if found else float("nan")
    return table
