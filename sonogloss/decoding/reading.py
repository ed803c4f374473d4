"""What a language model has read: prompts side by side, and behind each the tokens of all its beams, every one once.

The beams of a clip are queries of one row, not rows of their own. Whatever a beam says takes a new place in the row's
cache, and a mask tells which places a beam descends from::

    place    0 1 2 3 4 | 5 6 | 7 8          two beams after two steps; both go on from what beam 1 said first
    beam 0   . p p p p | . x | x .          ('.' hidden, p prompt, x said; a padded prompt begins with hidden places)
    beam 1   . p p p p | . x | . x

So a prompt is read and kept once whatever the number of beams, choosing other beams changes a mask and moves no key or
value, and attention goes over a prompt once for all beams. It asks three things of a model: that it takes its positions
and a mask from us and keeps keys and values in transformers' cache. :func:`check_reads` tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from sonogloss.errors import ModelFormatError

_STEPS = 16  # places are made for so many steps at a time
_FULL, _SLIDING = "full_attention", "sliding_attention"


class _Places(DynamicLayer):
    """Keys and values of one layer, [clips, heads, places, size], of which the first `filled` places are in use."""

    def __init__(self, spare: int) -> None:
        super().__init__()
        self.spare, self.filled = spare, 0

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write behind what is there; everything so far is what attention is to see."""
        begin, self.filled = self.filled, self.filled + key_states.shape[2]
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = (self._larger(states, 0) for states in (key_states, value_states))
        elif self.filled > self.keys.shape[2]:
            self.keys, self.values = (self._larger(states, begin) for states in (self.keys, self.values))
        self.keys[:, :, begin : self.filled] = key_states
        self.values[:, :, begin : self.filled] = value_states
        return self.keys[:, :, : self.filled], self.values[:, :, : self.filled]

    def _larger(self, states: Tensor, kept: int) -> Tensor:
        clips, heads, _, size = states.shape
        larger = states.new_empty(clips, heads, self.filled + self.spare, size)
        larger[:, :, :kept] = states[:, :, :kept]
        return larger

    def copies(self, clips: int) -> _Places:
        """Row 0 for every clip; nothing is copied before more is written."""
        twin = copy(self)
        if self.is_initialized:
            twin.keys, twin.values = (
                states[:1, :, : self.filled].expand(clips, -1, -1, -1) for states in (self.keys, self.values)
            )
        return twin

    def keep(self, clips: int, holes: Tensor, fillers: Tensor) -> None:
        """Shrink to the first `clips` rows, after rows behind them have taken the places of rows that left."""
        for states in (self.keys, self.values) if len(holes) else ():
            states[holes, :, : self.filled] = states[fillers, :, : self.filled]
        self.keys, self.values = self.keys[:clips], self.values[:clips]

    def get_seq_length(self) -> int:
        """Places in use."""
        return self.filled


class Reading:
    """A model in the middle of a batch of prompts.

    Args:
        model: a causal language model of transformers that :func:`check_reads` accepts.
        beams: for each clip.
        longest: positions of the longest prompt and its caption.
    """

    def __init__(self, model: Any, *, beams: int, longest: int) -> None:
        self._model, self._beams = model, beams
        config = model.config.get_text_config(decoder=True)
        self._windows = _windows(config, longest)
        self._dtype = model.get_input_embeddings().weight.dtype
        self._layers = [_Places(beams * _STEPS) for _ in range(config.num_hidden_layers)]
        self._cache = Cache(layers=list(self._layers))
        # Of every place its position in the text [clips, places], and which beams see it [clips, beams, places].
        self._positions = torch.empty(1, 0, dtype=torch.int64, device=model.device)
        self._seen = torch.empty(1, beams, 0, dtype=torch.bool, device=model.device)

    def read(self, vectors: Tensor, pads: Tensor) -> Tensor:
        """Read prompts.

        Args:
            vectors: [clips, t, width] input vectors, padded on the left.
            pads: [clips] how many of them are padding.

        Returns:
            Logits [clips, 1, vocabulary] behind the last vector.
        """
        clips, width = vectors.shape[:2]
        before = self._positions.shape[1]
        steps = torch.arange(width, device=vectors.device)
        positions = (steps - pads[:, None]).clamp(min=0) + before
        real = steps >= pads[:, None]
        self._positions = torch.cat([self._positions.expand(clips, -1), positions], 1)
        real = torch.cat([real.new_ones(clips, before), real], 1)
        logits = self._forward(
            {"inputs_embeds": vectors, "logits_to_keep": 1},
            positions,
            (real[:, None, :] & (self._positions[:, None, :] <= positions[:, :, None])),
        )
        self._seen = real[:, None, :].expand(-1, self._beams, -1)
        return logits

    def say(self, tokens: Tensor, parents: Tensor) -> Tensor:
        """Read one more token of every beam.

        Args:
            tokens: [clips, beams].
            parents: [clips, beams] the beams of the step before that they continue.

        Returns:
            Logits [clips, beams, vocabulary].
        """
        positions = (self._positions[:, -1:] + 1).expand_as(tokens)
        itself = torch.eye(self._beams, dtype=torch.bool, device=tokens.device).expand(len(tokens), -1, -1)
        inherited = self._seen.gather(1, parents[:, :, None].expand(-1, -1, self._seen.shape[2]))
        self._seen = torch.cat([inherited, itself], 2)
        self._positions = torch.cat([self._positions, positions], 1)
        return self._forward({"input_ids": tokens}, positions, self._seen)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these clips only: row i is then row `rows[i]` of now. A row that can stay where it is should."""
        moved = [(place, row) for place, row in enumerate(rows) if place != row]
        holes, fillers, order = (
            torch.tensor(indices, dtype=torch.int64, device=self._positions.device)
            for indices in ([hole for hole, _ in moved], [filler for _, filler in moved], list(rows))
        )
        for layer in self._layers:
            layer.keep(len(rows), holes, fillers)
        self._positions, self._seen = self._positions.index_select(0, order), self._seen.index_select(0, order)

    def copies(self, clips: int) -> Reading:
        """As many readings side by side as there are clips, all of what this one has read in its only row."""
        twin = copy(self)
        twin._layers = [layer.copies(clips) for layer in self._layers]
        twin._cache = Cache(layers=list(twin._layers))
        return twin

    def _forward(self, inputs: dict[str, Any], positions: Tensor, seen: Tensor) -> Tensor:
        output = self._model(
            **inputs,
            position_ids=positions,
            attention_mask=self._masks(positions, seen),
            past_key_values=self._cache,
            use_cache=True,
        )
        logits: Tensor = output.logits
        return logits

    def _masks(self, positions: Tensor, seen: Tensor) -> Tensor | dict[str, Tensor]:
        """What is added to attention scores, [clips, 1, queries, places]; by kind of layer where there are several."""
        full = self._mask(seen)
        if self._windows is None:
            return full
        window, kinds = self._windows
        near = self._mask(seen & (positions[:, :, None] - self._positions[:, None, :] < window))
        return near if kinds == {_SLIDING} else {_FULL: full, _SLIDING: near}

    def _mask(self, seen: Tensor) -> Tensor:
        hidden = torch.tensor(torch.finfo(self._dtype).min, dtype=self._dtype, device=seen.device)
        return torch.where(seen, hidden.new_zeros(()), hidden)[:, None]


def _windows(config: Any, longest: int) -> tuple[int, set[str]] | None:
    """The width of sliding attention and the kinds of layers, where positions can be further apart than that."""
    window: int | None = getattr(config, "sliding_window", None)
    if window is None or longest <= window:
        return None
    return window, set(getattr(config, "layer_types", None) or {_SLIDING})
