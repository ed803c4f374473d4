"""The KV cache against a plain list of what was written for each clip."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sonogloss.decoding.kv_cache import KVCacheLayer, WritePosition

HEADS, SIZE = 2, 3


def states(rows: int, entries: int, start: float) -> tuple[Tensor, Tensor]:
    """Keys and values of which no two numbers are equal."""
    keys = start + torch.arange(rows * HEADS * entries * SIZE, dtype=torch.float64).reshape(rows, HEADS, entries, SIZE)
    return keys, -keys - 1


class Plain:
    """What a cache of any number of clips must hold: for each clip the keys and values written so far."""

    def __init__(self) -> None:
        self.clips: list[tuple[Tensor, Tensor]] = [(torch.zeros(HEADS, 0, SIZE), torch.zeros(HEADS, 0, SIZE))]

    def write(self, keys: Tensor, values: Tensor) -> None:
        self.clips = [
            (torch.cat([k, new_k], 1), torch.cat([v, new_v], 1))
            for (k, v), new_k, new_v in zip(self.clips, keys, values, strict=True)
        ]

    def stacked(self) -> tuple[Tensor, Tensor]:
        return torch.stack([k for k, _ in self.clips]), torch.stack([v for _, v in self.clips])


@settings(max_examples=60, deadline=None)
@given(
    prefix=st.integers(0, 4),
    clips=st.integers(1, 5),
    growth=st.integers(1, 6),
    steps=st.lists(st.tuples(st.integers(1, 3), st.randoms(use_true_random=False)), min_size=1, max_size=6),
)
def test_expand_write_and_select_hold_what_was_written(prefix: int, clips: int, growth: int, steps: list) -> None:  # type: ignore[type-arg]
    plain, position = Plain(), WritePosition(clips=1, rows=slice(0, 1))
    layer = KVCacheLayer(position)
    if prefix:
        position.capacity = prefix
        new = states(1, prefix, 0)
        layer.update(*new)
        plain.write(*new)
        position.start = prefix
    position = WritePosition(clips=clips, rows=slice(0, clips), start=prefix, capacity=prefix)
    layer = layer.expand(position)
    plain.clips = plain.clips * clips
    for number, (entries, random) in enumerate(steps, start=1):
        if position.start + entries > position.capacity:
            position.capacity = position.start + entries + growth
        new = states(position.clips, entries, 1000.0 * number)
        keys, values = layer.update(*new)
        plain.write(*new)
        position.start += entries
        assert torch.equal(keys, plain.stacked()[0])
        assert torch.equal(values, plain.stacked()[1])
        rows = random.sample(range(position.clips), random.randint(1, position.clips))
        moved = [(target, source) for target, source in enumerate(rows) if target != source]
        position.clips, position.rows = len(rows), slice(0, len(rows))
        layer.select(torch.tensor([t for t, _ in moved]).long(), torch.tensor([s for _, s in moved]).long())
        plain.clips = [plain.clips[row] for row in rows]
        assert layer.get_seq_length() == position.start


def test_groups_of_rows_are_written_apart() -> None:
    position = WritePosition(clips=3, rows=slice(0, 2), capacity=4)
    layer = KVCacheLayer(position)
    first, second = states(2, 4, 0), states(1, 2, 500)
    layer.update(*first)
    position.rows = slice(2, 3)
    keys, values = layer.update(*second)
    assert torch.equal(keys, second[0])
    assert torch.equal(values, second[1])
    assert torch.equal(layer.keys[:2, :, :4], first[0])
    assert torch.equal(layer.keys[2:, :, :2], second[0])
    assert not layer.keys[2:, :, 2:].any()  # unused entries are zeros: a masked NaN would still be NaN


def test_expanding_copies_so_that_clips_do_not_share() -> None:
    position = WritePosition(clips=1, rows=slice(0, 1), capacity=2)
    layer = KVCacheLayer(position)
    layer.update(*states(1, 2, 0))
    position.start = 2
    wide = layer.expand(WritePosition(clips=2, rows=slice(0, 2), start=2, capacity=2))
    wide.keys[0] = 99.0
    assert torch.equal(wide.keys[1:], states(1, 2, 0)[0])
    assert torch.equal(layer.keys, states(1, 2, 0)[0])


def test_an_empty_layer_expands_to_an_empty_one() -> None:
    wide = KVCacheLayer(WritePosition(clips=1, rows=slice(0, 1))).expand(WritePosition(clips=3, rows=slice(0, 3)))
    assert not wide.is_initialized


@pytest.mark.parametrize("entries", [(1, 2), (5, 6, 7)])
def test_entries_of_a_fixed_shape_are_written_in_place(entries: tuple[int, ...]) -> None:
    position = WritePosition(clips=2, rows=slice(0, 2), capacity=8)
    layer = KVCacheLayer(position)
    layer.update(*states(2, 1, 0))
    position.entries = torch.tensor(entries)
    new = states(2, len(entries), 300)
    keys, values = layer.update(*new)
    assert keys.shape == (2, HEADS, 8, SIZE)  # the whole capacity, whatever is written
    assert torch.equal(keys[:, :, list(entries)], new[0])
    assert torch.equal(values[:, :, list(entries)], new[1])
    assert torch.equal(keys[:, :, :1], states(2, 1, 0)[0])
