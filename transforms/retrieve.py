"""retrieve: what does the datastore hold near each clip? Contexts for the prompt, and the projection across the gap."""

from __future__ import annotations

from dataclasses import replace

from sonogloss.methods import ProjectionSettings, Retriever
from sonogloss.methods.base import look_up
from sonogloss.transforms.work import Batch


def retrieve(
    batch: Batch, datastore: Retriever | None, *, contexts: int, projection: ProjectionSettings | None
) -> Batch:
    """Look every clip of a batch up.

    Args:
        batch: clips with embeddings.
        datastore: the store of captions; None when neither contexts nor a projection are asked for.
        contexts: how many captions a clip; 0 for none.
        projection: how embeddings are carried onto the text support (see sonogloss.bridge); None leaves them be.
    """
    if not batch.clips or datastore is None:
        return replace(batch, contexts=tuple(() for _ in batch.clips), projected=batch.embeddings)
    found, projected = look_up(batch.embeddings, datastore, contexts=contexts, projection=projection)
    return replace(batch, contexts=tuple(tuple(row) for row in found), projected=projected)
