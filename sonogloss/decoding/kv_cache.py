"""The KV cache of a batch: every key and value is written once to its entry and never moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers.cache_utils import DynamicLayer


@dataclass
class WritePosition:
    """Where the next forward pass writes; all layers share one.

    Args:
        clips: rows of the batch.
        rows: the rows that are written.
        start: the first entry that is written; attention sees all entries up to the last one written.
        capacity: how many entries a layer holds.
        entries: the entries that are written, when all rows are written and attention sees all entries. A pass then
            has the same shapes whatever was written before, and can be compiled.
    """

    clips: int
    rows: slice
    start: int = 0
    capacity: int = 0
    entries: Tensor | None = None


class KVCacheLayer(DynamicLayer):
    """Keys and values of one layer, [clips, heads, entries, size], written at the write position."""

    keys: Any  # tensors after the first write, which transformers' types cannot say
    values: Any

    def __init__(self, position: WritePosition) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # theirs has no annotations
        self._position = position

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write, and return the keys and values that attention sees; transformers calls this."""
        if self._position.entries is not None:
            self.keys.index_copy_(2, self._position.entries, key_states)
            self.values.index_copy_(2, self._position.entries, value_states)
            return self.keys, self.values
        rows, start = self._position.rows, self._position.start
        end = start + key_states.shape[2]
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = (self._allocated(states[:, :, :0]) for states in (key_states, value_states))
        elif self.keys.shape[2] < self._position.capacity:
            self.keys, self.values = (self._allocated(states) for states in (self.keys, self.values))
        self.keys[rows, :, start:end] = key_states
        self.values[rows, :, start:end] = value_states
        return self.keys[rows, :, :end], self.values[rows, :, :end]

    def expand(self, position: WritePosition) -> KVCacheLayer:
        """A layer for another write position, with the content of this one's only row in all of its rows."""
        layer = KVCacheLayer(position)
        if self.is_initialized:
            layer.lazy_initialization(self.keys, self.values)
            layer.keys, layer.values = (
                layer._allocated(states[:, :, : position.start]) for states in (self.keys, self.values)
            )
        return layer

    def select(self, targets: Tensor, sources: Tensor) -> None:
        """Copy rows `sources` onto rows `targets`, then keep as many rows as the write position has clips."""
        used, clips = self._position.start, self._position.clips
        if len(targets):
            self.keys[targets, :, :used] = self.keys[sources, :, :used]
            self.values[targets, :, :used] = self.values[sources, :, :used]
        self.keys, self.values = self.keys[:clips], self.values[:clips]

    def get_seq_length(self) -> int:
        """Entries in use."""
        return self._position.start

    def _allocated(self, states: Tensor) -> Tensor:
        """An array of full capacity that begins with these states."""
        # Zeros, not uninitialized memory: a masked entry has weight 0, and 0 times NaN is NaN.
        array = states.new_zeros(self._position.clips, states.shape[1], self._position.capacity, states.shape[3])
        if states.shape[2]:
            array[:, :, : states.shape[2]] = states
        return array
