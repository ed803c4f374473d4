"""retrieve: what does the datastore hold near each clip? Contexts for the prompt, and the projection across the gap."""

from __future__ import annotations

from dataclasses import replace

from sonogloss.methods import ProjectionSettings, Retriever
from sonogloss.records import Context
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
    if not batch.clips:
        return batch
    queries = batch.embeddings
    found: list[tuple[Context, ...]] = [()] * len(batch.clips)
    projected = queries
    if datastore is not None and contexts:
        found = [tuple(row) for row in datastore.search(queries, contexts)]
    if datastore is not None and projection is not None:
        projected = datastore.project(queries, temperature=projection.tau, renormalise=projection.renormalise)
    return replace(batch, contexts=tuple(found), projected=projected)
