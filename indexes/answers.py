"""What a shard finds near queries, and the captions of what was found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import repeat

import numpy as np

from sonogloss.bridge import SoftmaxState
from sonogloss.indexes.shard import Shard
from sonogloss.records import Context, FloatArray

Found = tuple[float, int, int, int]
"""The negative score of a caption, its id, the number of its shard and its row there."""


def look_in_shard(
    shard: Shard,
    number: int,
    queries: FloatArray,
    *,
    k: int,
    temperature: float | None,
    where: Mapping[str, Sequence[str]],
) -> tuple[list[list[Found]], SoftmaxState | None]:
    """The nearest captions of one shard, best first, and its softmax where a temperature is given."""
    seen = shard.look(queries, k=k, temperature=temperature, where=where)
    found = [
        sorted(zip((-scores).tolist(), shard.ids[rows].tolist(), repeat(number), rows.tolist()))
        for scores, rows in seen.nearest
    ]
    return found, seen.softmax


def contexts_of(shards: Sequence[Shard], found: Sequence[Sequence[Found]]) -> list[list[Context]]:
    """The captions of what was found, read shard by shard."""
    contexts: list[list[Context | None]] = [[None] * len(best) for best in found]
    places: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for query, best in enumerate(found):
        for rank, (_, _, number, _) in enumerate(best):
            places[number].append((query, rank))
    for number in sorted(places):
        shard = shards[number]
        for query, rank in places[number]:
            negative, caption_id, _, row = found[query][rank]
            text, source = shard.words(row)
            # The product of two unit vectors that were rounded to float32 may exceed one in the last digit.
            score = min(1.0, max(-1.0, float(np.float32(-negative))))
            contexts[query][rank] = Context(id=caption_id, text=text, score=score, source=source)
        shard.release()
    return contexts  # type: ignore[return-value]  # every place is filled
