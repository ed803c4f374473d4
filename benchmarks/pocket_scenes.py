"""Held-out scenes as test material: sounds, references, CLAP embeddings, and scores of captions against them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sonogloss.clap import Clap
from sonogloss.metrics import evaluate
from sonogloss.records import FloatArray
from sonogloss.soundscapes import RATE, Scene, references, render_scene, sample_scene
from sonogloss.soundscapes.scoring import event_counts, event_f1

TEST_SEED = 2_000_000  # training renders from 10,000,000 (variants) and validates on 1,000,000 (scenes)
DATASTORE_SEED = 77
Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class TestScenes:
    """Scenes with their references and the embeddings of their sounds `[n, d]`."""

    scenes: list[Scene]
    references: list[list[str]]
    audio: FloatArray

    @classmethod
    def make(cls, clap: Clap, count: int, seed: int = TEST_SEED) -> TestScenes:
        """Render and embed `count` scenes, 32 at a time."""
        scenes, parts = [], []
        for start in range(0, count, 32):
            sounds = []
            for number in range(start, min(start + 32, count)):
                scenes.append(sample_scene(seed + number))
                sounds.append(render_scene(scenes[-1])[: 10 * RATE])
            parts.append(clap.embed_audio(sounds))
        return cls(scenes=scenes, references=[references(scene, 6) for scene in scenes], audio=np.concatenate(parts))

    @property
    def own_captions(self) -> list[str]:
        """The caption that stands for a scene in retrieval and as the oracle; it is not among the references."""
        return [captions[0] for captions in self.references]

    def score(self, captions: Sequence[str]) -> dict[str, Scores]:
        """CIDEr-D and event F1 of every scene, and the micro-averaged event F1 over all (a single number)."""
        keys = [str(number) for number in range(len(self.scenes))]
        told = evaluate(
            dict(zip(keys, captions, strict=True)),
            {key: refs[1:] for key, refs in zip(keys, self.references, strict=True)},
            metrics=["cider_d"],
        )
        counts = [event_counts(c, scene.names) for c, scene in zip(captions, self.scenes, strict=True)]
        f1 = [2 * right / max(1, 2 * right + wrong + missed) for right, wrong, missed in counts]
        micro = event_f1(captions, [scene.names for scene in self.scenes])
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
