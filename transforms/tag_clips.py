"""tag_clips: embeddings, and frames where labels are compared with them -> scores, and the labels that fit best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sonogloss.records import FloatArray, LabelScore
from sonogloss.transforms.isolate import check_finite, drop_failures, run_isolated
from sonogloss.transforms.work import Batch

if TYPE_CHECKING:  # it stands on torch, which is the worker's business
    from sonogloss.tagging.tagger import Tagger

STAGE = "tag_clips"


@dataclass(frozen=True, kw_only=True)
class LabelSelection:
    """Which labels a row names: at most `top` (None: all), and none that scores below `threshold` (None: any)."""

    top: int | None = 5
    threshold: float | None = None

    def of(self, scores: FloatArray, labels: tuple[str, ...]) -> tuple[LabelScore, ...]:
        """The selected labels of one clip's scores [labels], best first, ties in the order of the labels."""
        order = np.argsort(-scores, kind="stable")[: self.top]
        kept = [i for i in order if self.threshold is None or scores[i] >= self.threshold]
        return tuple(LabelScore(label=labels[i], score=float(scores[i])) for i in kept)


def tag_clips(batch: Batch, tagger: Tagger, selection: LabelSelection) -> Batch:
    """Score every label against every clip of a batch, and select; a clip on which that fails becomes a dead letter.

    Args:
        batch: clips with embeddings, and with frames where the tagger needs them.
        tagger: the labels.
        selection: which of them a row names.
    """
    if not batch.clips:
        return batch

    def score(rows: Sequence[int]) -> list[FloatArray]:
        kept = np.asarray(rows)
        return list(tagger.scores(batch.embeddings[kept], batch.frames[kept] if tagger.needs_frames else None))

    outcomes = run_isolated(score, range(len(batch.clips)), stage=STAGE)
    batch, scores = drop_failures(batch, outcomes, stage=STAGE, check=check_finite)
    if not scores:
        return batch
    labels = tuple(selection.of(row, tagger.labels) for row in scores)
    return replace(batch, labels=labels, label_scores=np.stack(scores))
