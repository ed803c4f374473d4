"""The cache of a batch: keys and values in places that are written once and never moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers.cache_utils import DynamicLayer


@dataclass
class Cursor:
    """Where the next pass through a model writes; all layers share one.

    Args:
        clips: rows of the batch.
        rows: those that are written to.
        begin: the first place that is written to; attention sees the places up to the last one written.
        room: how many places there are to be.
        places: those that are written to, where all rows are and attention is to see all places; then a pass has the
            same shapes whatever was written before, and can be compiled.
    """

    clips: int
    rows: slice
    begin: int = 0
    room: int = 0
    places: Tensor | None = None


class Places(DynamicLayer):
    """Keys and values of one layer, [clips, heads, places, size], written where the cursor stands."""

    keys: Any  # tensors once something is written, which transformers' types cannot say
    values: Any

    def __init__(self, cursor: Cursor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # theirs has no annotations
        self._cursor = cursor

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write, and give what attention is to see (transformers calls this)."""
        if self._cursor.places is not None:
            self.keys.index_copy_(2, self._cursor.places, key_states)
            self.values.index_copy_(2, self._cursor.places, value_states)
            return self.keys, self.values
        rows, begin = self._cursor.rows, self._cursor.begin
        end = begin + key_states.shape[2]
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = (self._made(states[:, :, :0]) for states in (key_states, value_states))
        elif self.keys.shape[2] < self._cursor.room:
            self.keys, self.values = (self._made(states) for states in (self.keys, self.values))
        self.keys[rows, :, begin:end] = key_states
        self.values[rows, :, begin:end] = value_states
        return self.keys[rows, :, :end], self.values[rows, :, :end]

    def copies(self, cursor: Cursor) -> Places:
        """What the only row of this one holds, for every clip of another cursor."""
        twin = Places(cursor)
        if self.is_initialized:
            twin.lazy_initialization(self.keys, self.values)
            twin.keys, twin.values = (twin._made(states[:, :, : cursor.begin]) for states in (self.keys, self.values))
        return twin

    def keep(self, holes: Tensor, fillers: Tensor) -> None:
        """Shrink to the cursor's number of clips; rows behind fill the holes that others leave."""
        used, clips = self._cursor.begin, self._cursor.clips
        if len(holes):
            self.keys[holes, :, :used] = self.keys[fillers, :, :used]
            self.values[holes, :, :used] = self.values[fillers, :, :used]
        self.keys, self.values = self.keys[:clips], self.values[:clips]

    def get_seq_length(self) -> int:
        """Places in use."""
        return self._cursor.begin

    def _made(self, states: Tensor) -> Tensor:
        """As many places as there are to be; the first ones hold these states."""
        # Zeros rather than what the memory held: a hidden place has no weight, but no weight times NaN is NaN.
        made = states.new_zeros(self._cursor.clips, states.shape[1], self._cursor.room, states.shape[3])
        if states.shape[2]:
            made[:, :, : states.shape[2]] = states
        return made
