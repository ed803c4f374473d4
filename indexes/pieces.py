"""A store asked piece by piece: pieces answer apart, in any process, and their answers join into that of the store.

A piece is a shard or, where the support is not the captions' own vectors, a part of the support. Answers join in the
order of the pieces, so sums have the bits that one process would have given them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sonogloss.bridge import SoftmaxState, empty_state, finish, merge
from sonogloss.indexes.answers import Found, contexts_of, look_in_shard
from sonogloss.indexes.datastore import Datastore
from sonogloss.indexes.vectors import check_queries
from sonogloss.records import Context, FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class PieceAnswer:
    """What one piece of a store says of some queries.

    Attributes:
        piece: its number.
        nearest: for each query the captions found, best first, each with what it is ordered by.
        softmax: the state over the piece; None where it is no piece of the support.
    """

    piece: int
    nearest: list[list[tuple[Found, Context]]]
    softmax: SoftmaxState | None

    def part(self, queries: slice) -> PieceAnswer:
        """The answer to some of the queries."""
        state = self.softmax
        if state is not None:
            state = SoftmaxState(
                maximum=state.maximum[queries], total=state.total[queries], vector=state.vector[queries]
            )
        return PieceAnswer(piece=self.piece, nearest=self.nearest[queries], softmax=state)


def count_pieces(store: Datastore, *, k: int, projecting: bool) -> int:
    """How many pieces a store is asked in: its shards, then the parts of a support that is not its captions' own."""
    apart = len(store.support.mapped) if projecting and not (k and store.owns_support) else 0
    return apart + (len(store.shards) if k else 0)


def ask_piece(store: Datastore, piece: int, queries: FloatArray, *, k: int, temperature: float | None) -> PieceAnswer:
    """Ask one piece of a store.

    Args:
        store: best opened with `search="partitioned"`, so that only the piece is mapped.
        piece: its number, below :func:`count_pieces`.
        queries: [n, dim], unit rows.
        k: captions a query, at least 0.
        temperature: tau >= 0 of the softmax over the support; None for no projection.
    """
    checked = check_queries(queries, store.dim)
    shards = len(store.shards) if k else 0
    if piece >= shards:
        part = store.support.mapped[piece - shards]
        softmax = part.scan(checked, temperature=temperature).softmax
        return PieceAnswer(piece=piece, nearest=[[] for _ in checked], softmax=softmax)
    tau = temperature if store.owns_support else None
    found, state = look_in_shard(store.shards[piece], piece, checked, k=k, temperature=tau, where={})
    contexts = contexts_of(store.shards, found)
    nearest = [list(zip(best, texts, strict=True)) for best, texts in zip(found, contexts, strict=True)]
    return PieceAnswer(piece=piece, nearest=nearest, softmax=state)


def join_answers(
    answers: Sequence[PieceAnswer], queries: FloatArray, *, k: int, temperature: float | None, renormalise: bool
) -> tuple[list[list[Context]], FloatArray]:
    """The answers of all pieces as one: what :meth:`Datastore.search_and_project` says, bit for bit.

    Args:
        answers: of all pieces to the same queries, in any order.
        queries: [n, dim]; they come back where there is no projection.
        k: captions a query.
        temperature: as in :func:`ask_piece`.
        renormalise: scale the projected queries to unit length.
    """
    ordered = sorted(answers, key=lambda answer: answer.piece)
    contexts = []
    for query in range(len(queries)):
        best = sorted((pair for answer in ordered for pair in answer.nearest[query]), key=lambda pair: pair[0])
        contexts.append([context for _, context in best[:k]])
    if temperature is None:
        return contexts, queries
    state = empty_state(*queries.shape)
    for answer in ordered:
        if answer.softmax is not None:
            state = merge(state, answer.softmax, temperature)
    return contexts, finish(state, renormalise=renormalise)
