"""retrieve: what does the datastore hold near each clip? Contexts for the prompt, and the projection across the gap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import apache_beam as beam
from apache_beam.pvalue import PCollection

from sonogloss.methods import ProjectionSettings, Retriever
from sonogloss.records import Context
from sonogloss.transforms.models import DatastoreReference
from sonogloss.transforms.work import Batch, timed

STAGE = "retrieve"


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


class _RetrieveFn(beam.DoFn):
    def __init__(
        self, datastore: DatastoreReference | None, contexts: int, projection: ProjectionSettings | None
    ) -> None:
        self._reference = datastore
        self._contexts = contexts
        self._projection = projection

    def setup(self) -> None:
        self._datastore = self._reference.load() if self._reference else None

    def process(self, batch: Batch) -> Iterator[Batch]:
        yield timed(STAGE, retrieve, batch, self._datastore, contexts=self._contexts, projection=self._projection)


class Retrieve(beam.PTransform[PCollection[Batch], PCollection[Batch]]):
    """Batches -> batches with contexts and projected embeddings, see :func:`retrieve`."""

    def __init__(
        self, datastore: DatastoreReference | None, contexts: int, projection: ProjectionSettings | None
    ) -> None:
        super().__init__()
        self._fn = _RetrieveFn(datastore, contexts, projection)

    def expand(self, pcoll: PCollection[Batch]) -> PCollection[Batch]:
        return pcoll | beam.ParDo(self._fn)
