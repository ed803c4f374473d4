"""Held-out scenes as test material: scores of captions against them, and paired intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from recipes.event_scores import event_counts, event_f1
from recipes.pocket.held_out import HeldOutScenes
from sonogloss.metrics import evaluate

TEST_SEED = 2_000_000  # training renders from 10,000,000 (variants) and validates on 1,000,000 (scenes)
DATASTORE_SEED = 77
Scores = npt.NDArray[np.float64]


def own_captions(scenes: HeldOutScenes) -> list[str]:
    """The caption that stands for a scene in retrieval and as the oracle; it is not among the references."""
    return [captions[0] for captions in scenes.captions]


def score(scenes: HeldOutScenes, captions: Sequence[str]) -> dict[str, Scores]:
    """CIDEr-D and event F1 of every scene, and the micro-averaged event F1 over all (a single number)."""
    keys = [str(number) for number in range(len(scenes.names))]
    told = evaluate(
        dict(zip(keys, captions, strict=True)),
        {key: refs[1:] for key, refs in zip(keys, scenes.captions, strict=True)},
        metrics=["cider_d"],
    )
    counts = [event_counts(c, names) for c, names in zip(captions, scenes.names, strict=True)]
    f1 = [2 * right / max(1, 2 * right + wrong + missed) for right, wrong, missed in counts]
    micro = event_f1(captions, scenes.names)
    return {
        "cider_d": np.array([told.clips[key]["cider_d"] for key in keys]),
        "event_f1": np.array(f1),
        "micro_f1": np.array(micro),
    }


def bootstrap(difference: Scores, seed: int = 0, resamples: int = 10_000) -> tuple[float, float, float]:
    """Mean of paired differences with its 95 % percentile interval, resampling scenes."""
    rng = np.random.default_rng(seed)
    means = [difference[rng.integers(len(difference), size=len(difference))].mean() for _ in range(resamples)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(difference.mean()), float(low), float(high)
