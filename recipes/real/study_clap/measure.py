"""What a pair of towers is worth: zero-shot classes of held-out folds, and captions found for captioned clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from .clips import Clip

_DRAWS = 2000


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Scores by name, each with the 95 % bootstrap interval over clips."""

    scores: dict[str, tuple[float, float, float, int]]

    def as_json(self) -> dict[str, Any]:
        """Scores as JSON values."""
        return {
            name: {"value": round(value, 4), "low": round(low, 4), "high": round(high, 4), "clips": clips}
            for name, (value, low, high, clips) in self.scores.items()
        }


def measure(clips: Sequence[Clip], audio: Tensor, embed: Callable[[list[str]], Tensor]) -> Measured:
    """Zero-shot accuracy by bare class names, and recall of own captions among the ten nearest.

    Args:
        clips: n clips.
        audio: [n, d] unit rows.
        embed: texts to unit rows.
    """
    seen = {clip.kind for clip in clips if clip.use == "train"}
    hits: dict[str, npt.NDArray[np.float64]] = {}
    for source in ("esc", "urbansound8k"):
        rows = [row for row, clip in enumerate(clips) if clip.source == source and clip.use == "test"]
        names = sorted({clips[row].kind for row in rows})
        found = (audio[rows] @ embed([name.replace("_", " ") for name in names]).T).argmax(dim=1).tolist()
        right = np.array([names[place] == clips[row].kind for place, row in zip(found, rows, strict=True)], float)
        hits[f"{source} test fold, {len(names)} classes"] = right
        known = np.array([clips[row].kind in seen for row in rows])
        if known.any() and not known.all():
            hits[f"{source}, classes learned from"] = right[known]
            hits[f"{source}, classes never learned from"] = right[~known]
    rows = [row for row, clip in enumerate(clips) if clip.use == "captioned"]
    captions = [(row, text) for row in rows for text in clips[row].sentences]
    nearest = (audio[rows] @ embed([text for _, text in captions]).T).topk(10, dim=1).indices.tolist()
    own = [any(captions[place][0] == row for place in places) for row, places in zip(rows, nearest, strict=True)]
    hits["audio to text R@10, captioned clips"] = np.array(own, float)
    return Measured(scores={name: (float(some.mean()), *_interval(some), len(some)) for name, some in hits.items()})


def _interval(hits: npt.NDArray[np.float64]) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    means = hits[rng.integers(0, len(hits), (_DRAWS, len(hits)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
