"""retrieve_partitioned: what `retrieve` does, for stores that no worker can hold.

Embeddings of all clips go to every piece of the store, and each piece is opened once, by one worker. Its answers go
back to their batches, and batches to their unit, in order. Vectors pass a shuffle here, and only here: a clip costs its
embedding and 8 bytes a number of its projection for every piece. Rows are those of `retrieve`, byte for byte.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import PCollection

from sonogloss.indexes.pieces import PieceAnswer, ask_piece, count_pieces, join_answers
from sonogloss.methods import ProjectionSettings
from sonogloss.records import FloatArray
from sonogloss.transforms.batch_step import BatchStep
from sonogloss.transforms.models import DatastoreReference
from sonogloss.transforms.retrieve import STAGE, attach, retrieve
from sonogloss.transforms.work import Batch

QUERIES = 1024
"""Queries that a piece is asked about together: as fast as more, and less memory."""


class RetrievePartitioned(BatchStep):
    """Batches with embeddings -> the same with contexts and projected embeddings.

    Args:
        datastore: opened with `search="partitioned"`.
        contexts: captions a clip; 0 for none.
        projection: how embeddings are carried onto the text support; None leaves them be.
    """

    def __init__(self, datastore: DatastoreReference, *, contexts: int, projection: ProjectionSettings | None) -> None:
        super().__init__(retrieve, datastore=datastore, contexts=contexts, projection=projection)
        self._datastore, self._contexts, self._projection = datastore, contexts, projection

    def expand(self, pcoll: PCollection[Any]) -> PCollection[Any]:
        pieces = count_pieces(self._datastore.load(), k=self._contexts, projecting=self._projection is not None)
        temperature = None if self._projection is None else self._projection.tau
        keyed = pcoll | "KeyBatches" >> beam.Map(_keyed).with_output_types(tuple[str, Any])
        answers = (
            keyed
            | "AskPieces" >> beam.FlatMap(_questions, pieces=pieces).with_output_types(tuple[int, Any])
            | "GroupByPiece" >> beam.GroupByKey()
            | "LookInPiece"
            >> beam.ParDo(_LookInPiece(self._datastore, self._contexts, temperature)).with_output_types(tuple[str, Any])
        )
        return (
            {"batches": keyed, "answers": answers}
            | "GroupByBatch" >> beam.CoGroupByKey()
            | "JoinAnswers"
            >> beam.Map(_join, contexts=self._contexts, projection=self._projection).with_output_types(tuple[str, Any])
            | "GroupByUnit" >> beam.GroupByKey()
            | "OrderBatches" >> beam.FlatMap(_in_order)
        )


def _keyed(batch: Batch) -> tuple[str, Batch]:
    return f"{batch.unit}/{batch.number}", batch


def _questions(keyed: tuple[str, Batch], pieces: int) -> Iterator[tuple[int, tuple[str, FloatArray]]]:
    key, batch = keyed
    for piece in range(pieces) if batch.clips else ():
        yield piece, (key, batch.embeddings)


class _LookInPiece(beam.DoFn):
    def __init__(self, datastore: DatastoreReference, contexts: int, temperature: float | None) -> None:
        self._reference, self._contexts, self._temperature = datastore, contexts, temperature

    def setup(self) -> None:
        self._store = self._reference.load()

    def process(
        self, asked: tuple[int, Iterable[tuple[str, FloatArray]]]
    ) -> Iterator[tuple[str, tuple[PieceAnswer, float]]]:
        piece, batches = asked
        waiting: list[tuple[str, FloatArray]] = []
        for key, embeddings in batches:
            waiting.append((key, embeddings))
            if sum(len(queries) for _, queries in waiting) >= QUERIES:
                yield from self._ask(piece, waiting)
                waiting = []
        if waiting:
            yield from self._ask(piece, waiting)

    def _ask(
        self, piece: int, waiting: list[tuple[str, FloatArray]]
    ) -> Iterator[tuple[str, tuple[PieceAnswer, float]]]:
        start = time.perf_counter()
        together = np.concatenate([queries for _, queries in waiting])
        answer = ask_piece(self._store, piece, together, k=self._contexts, temperature=self._temperature)
        seconds = (time.perf_counter() - start) / len(together)
        first = 0
        for key, queries in waiting:
            yield key, (answer.part(slice(first, first + len(queries))), seconds * len(queries))
            first += len(queries)


def _join(
    grouped: tuple[str, dict[str, Iterable[Any]]], contexts: int, projection: ProjectionSettings | None
) -> tuple[str, Batch]:
    [batch] = grouped[1]["batches"]
    answers = list(grouped[1]["answers"])
    found, projected = join_answers(
        [answer for answer, _ in answers],
        batch.embeddings,
        k=contexts,
        temperature=None if projection is None else projection.tau,
        renormalise=projection is not None and projection.renormalise,
    )
    seconds = {**batch.seconds, STAGE: sum(taken for _, taken in answers)}
    batch = replace(batch, seconds=seconds)
    return batch.unit, attach(batch, lambda rows: ([found[row] for row in rows], projected[rows]))


def _in_order(unit: tuple[str, Iterable[Batch]]) -> list[Batch]:
    return sorted(unit[1], key=lambda batch: batch.number)
