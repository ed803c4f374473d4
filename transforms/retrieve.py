"""retrieve: what does the datastore hold near each clip? Contexts for the prompt, and the projection across the gap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from sonogloss.methods import ProjectionSettings, Retriever
from sonogloss.methods.base import look_up
from sonogloss.records import Context, FloatArray, IntArray
from sonogloss.transforms.isolate import check_finite, drop_failures, run_isolated
from sonogloss.transforms.work import Batch

STAGE = "retrieve"


def retrieve(
    batch: Batch, datastore: Retriever | None, *, contexts: int, projection: ProjectionSettings | None
) -> Batch:
    """Look every clip of a batch up, in one pass; a clip on which that fails becomes a dead letter.

    Args:
        batch: clips with embeddings.
        datastore: the store of captions; None when neither contexts nor a projection are asked for.
        contexts: how many captions a clip; 0 for none.
        projection: how embeddings are carried onto the text support (see sonogloss.bridge); None leaves them be.
    """
    if datastore is None:
        return replace(batch, contexts=tuple(() for _ in batch.clips), projected=batch.embeddings)
    return attach(
        batch, lambda rows: look_up(batch.embeddings[rows], datastore, contexts=contexts, projection=projection)
    )


def attach(batch: Batch, find: Callable[[IntArray], tuple[list[list[Context]], FloatArray]]) -> Batch:
    """Give every clip of a batch what was found for it; a clip on which that fails becomes a dead letter.

    Args:
        batch: clips with embeddings.
        find: gives the contexts of some clips, by their places in the batch, and their projected embeddings.
    """
    if not batch.clips:
        return replace(batch, contexts=(), projected=batch.embeddings)

    def rows_of(rows: Sequence[int]) -> list[tuple[tuple[Context, ...], FloatArray]]:
        found, projected = find(np.asarray(rows))
        return [(tuple(some), vector) for some, vector in zip(found, projected, strict=True)]

    outcomes = run_isolated(rows_of, range(len(batch.clips)), stage=STAGE)
    left, pairs = drop_failures(
        batch,
        outcomes,
        stage=STAGE,
        check=lambda pair: check_finite(pair[1], [context.score for context in pair[0]]),
    )
    if not pairs:
        return left
    return replace(
        left, contexts=tuple(found for found, _ in pairs), projected=np.stack([projected for _, projected in pairs])
    )
