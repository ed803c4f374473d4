"""What a language model has read: prompts side by side, and behind each the tokens of all its beams, every one once.

The beams of a clip are queries of one row, not rows of their own. Whatever a beam says takes a new place in the row's
cache, and a mask tells which places a beam descends from::

    place    0 1 2 3 4 | 5 6 | 7 8          two beams after two steps; both go on from what beam 0 said first
    beam 0   p p p p . | x . | x .          (p prompt, x said, '.' hidden; a short prompt leaves places free)
    beam 1   p p p p . | x . | . x

So a prompt is read and kept once whatever the number of beams, choosing other beams changes a mask and moves no key or
value, and attention goes over a prompt once for all beams. It asks three things of a model: that it takes positions and
a mask from us, and that it keeps keys and values in transformers' cache. :func:`check_reads` tells.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache

from sonogloss.decoding.kv_cache import Cursor, Places
from sonogloss.errors import ModelFormatError

_STEPS = 16  # places are made for so many steps at a time
_ROUND = 64  # prompts of compiled models take a multiple of so many places: few shapes, few compilations
_OWN_WINDOWS = {"gpt_neo"}  # its layers hide what is many places away, also when those places are other beams'
_FULL, _SLIDING = "full_attention", "sliding_attention"


class Reading:
    """A model in the middle of a batch of prompts; at first one row, in which nothing stands.

    Args:
        model: a causal language model of transformers that :func:`check_reads` accepts.
        beams: for each clip.
        longest: positions of the longest prompt and its caption.
        step: the model's compiled `forward` for steps of beams, which then all have the same shapes: attention goes
            over all places there will ever be, and most of them are hidden.
        steps: of beams, at most; places are made for all of them at once when shapes are to stay the same.
    """

    def __init__(
        self, model: Any, *, beams: int, longest: int, step: Callable[..., Any] | None = None, steps: int = 0
    ) -> None:
        self._model, self._beams, self._step = model, beams, step
        self._ahead = beams * (_STEPS if step is None else steps)
        config = model.config.get_text_config(decoder=True)
        self._windows = _windows(config, longest)
        self._dtype = model.get_input_embeddings().weight.dtype
        self._cursor = Cursor(clips=1, rows=slice(0, 1))
        self._layers = [Places(self._cursor) for _ in range(config.num_hidden_layers)]
        self._cache = Cache(layers=list(self._layers))
        # Of every place its position in the text [clips, places], and which beams see it [clips, beams, places].
        self._positions = torch.zeros(1, 0, dtype=torch.int64, device=model.device)
        self._seen = torch.zeros(1, beams, 0, dtype=torch.bool, device=model.device)
        self._next = torch.zeros(1, dtype=torch.int64, device=model.device)  # position of the next token [clips]

    def copies(self, clips: int) -> Reading:
        """As many rows as there are clips, with what stands in the only row of this one."""
        twin = copy(self)
        twin._cursor = Cursor(clips=clips, rows=slice(0, clips), begin=self._cursor.begin, room=self._cursor.begin)
        twin._layers = [layer.copies(twin._cursor) for layer in self._layers]
        twin._cache = Cache(layers=list(twin._layers))
        twin._positions, twin._seen, twin._next = (
            array.expand(clips, *array.shape[1:])
            for array in (
                self._positions[:, : self._cursor.begin],
                self._seen[:, :, : self._cursor.begin],
                self._next,
            )
        )
        return twin

    def read(self, groups: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Read prompts, each group in one pass through the model.

        Args:
            groups: of all clips, in their order: input vectors [group, t, width], padded on the left, and how many of
                each are padding [group].

        Returns:
            Logits [clips, 1, vocabulary] behind the last vector of each.
        """
        width, first, logits = max(vectors.shape[1] for vectors, _ in groups), 0, []
        before, begin = self._positions, self._cursor.begin
        room = begin + width if self._step is None else _ROUND * math.ceil((begin + width) / _ROUND)
        self._cursor.room = room + self._ahead
        positions = before.new_zeros(self._cursor.clips, width)
        real = self._seen.new_zeros(self._cursor.clips, width)
        for vectors, pads in groups:
            rows = self._cursor.rows = slice(first, first + len(vectors))
            first = rows.stop
            steps = torch.arange(vectors.shape[1], device=vectors.device)
            here = self._next[rows, None] + (steps - pads[:, None]).clamp(min=0)
            places = torch.cat([before[rows], here], 1)
            shown = torch.cat([self._seen[rows, 0], steps >= pads[:, None]], 1)
            seen = shown[:, None, :] & (places[:, None, :] <= here[:, :, None])
            logits.append(self._forward({"inputs_embeds": vectors, "logits_to_keep": 1}, here, places, seen))
            positions[rows, : len(steps)], real[rows, : len(steps)] = here, steps >= pads[:, None]
        self._cursor.rows, self._cursor.begin = slice(0, self._cursor.clips), begin + width
        self._positions = self._wide(torch.cat([before, positions], 1))
        self._seen = self._wide(torch.cat([self._seen, real[:, None].expand(-1, self._beams, -1)], 2))
        self._next = positions.max(1).values + 1
        return torch.cat(logits)

    def say(self, tokens: Tensor, parents: Tensor) -> Tensor:
        """Read one more token of every beam.

        Args:
            tokens: [clips, beams].
            parents: [clips, beams] the beams of the step before that they continue.

        Returns:
            Logits [clips, beams, vocabulary].
        """
        begin, end = self._cursor.begin, self._cursor.begin + self._beams
        if end > self._cursor.room:
            self._cursor.room += self._ahead
            self._positions, self._seen = self._wide(self._positions), self._wide(self._seen)
        here = self._next[:, None].expand_as(tokens)
        self._seen = self._seen.gather(1, parents[:, :, None].expand(-1, -1, self._cursor.room))
        self._seen[:, :, begin:end] = torch.eye(self._beams, dtype=torch.bool, device=tokens.device)
        self._positions[:, begin:end] = here
        shown = end if self._step is None else self._cursor.room
        if self._step is not None:
            self._cursor.places = torch.arange(begin, end, device=tokens.device)
        logits = self._forward(
            {"input_ids": tokens}, here, self._positions[:, :shown], self._seen[:, :, :shown], self._step
        )
        self._next = self._next + 1
        self._cursor.begin = end
        return logits

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these clips only: row i is then row `rows[i]` of now. A row that can stay where it is should."""
        moved = [(place, row) for place, row in enumerate(rows) if place != row]
        holes, fillers, order = (
            torch.tensor(indices, dtype=torch.int64, device=self._next.device)
            for indices in ([hole for hole, _ in moved], [filler for _, filler in moved], list(rows))
        )
        self._cursor.clips, self._cursor.rows = len(rows), slice(0, len(rows))
        for layer in self._layers:
            layer.keep(holes, fillers)
        self._positions, self._seen, self._next = (
            array.index_select(0, order) for array in (self._positions, self._seen, self._next)
        )

    def _wide(self, array: Tensor) -> Tensor:
        """An array [..., places] with room for all places."""
        return nn.functional.pad(array, (0, self._cursor.room - array.shape[-1]))

    def _forward(
        self,
        inputs: dict[str, Any],
        positions: Tensor,
        places: Tensor,
        seen: Tensor,
        forward: Callable[..., Any] | None = None,
    ) -> Tensor:
        """Logits of queries at these positions [b, q], which see [b, q, k] places with these positions [b, k]."""
        full = self._mask(seen)
        masks: Tensor | dict[str, Tensor] = full
        if self._windows is not None:
            window, kinds = self._windows
            near = self._mask(seen & (positions[:, :, None] - places[:, None, :] < window))
            masks = near if kinds == {_SLIDING} else {_FULL: full, _SLIDING: near}
        output = (forward or self._model)(
            **inputs, position_ids=positions, attention_mask=masks, past_key_values=self._cache, use_cache=True
        )
        logits: Tensor = output.logits
        return logits

    def _mask(self, seen: Tensor) -> Tensor:
        """What is added to the scores of attention, [b, 1, q, k]."""
        hidden = torch.tensor(torch.finfo(self._dtype).min, dtype=self._dtype, device=seen.device)
        return torch.where(seen, torch.zeros_like(hidden), hidden)[:, None]


def _windows(config: Any, longest: int) -> tuple[int, set[str]] | None:
    """The width of sliding attention and the kinds of layers, where positions can be further apart than that."""
    window: int | None = getattr(config, "sliding_window", None)
    if window is None or longest <= window:
        return None
    return window, set(getattr(config, "layer_types", None) or {_SLIDING})


def check_reads(model: Any) -> None:
    """See that a model can be read with, by reading two beams side by side and each of them alone.

    Raises:
        ModelFormatError: the model counts positions by itself, makes its own mask or keeps another kind of state.
    """
    config = model.config.get_text_config(decoder=True)
    takes = {"inputs_embeds", "position_ids", "attention_mask", "past_key_values", "logits_to_keep"}
    readable = (
        takes <= set(inspect.signature(model.forward).parameters)
        and set(getattr(config, "layer_types", None) or ()) <= {_FULL, _SLIDING}
        and config.model_type not in _OWN_WINDOWS
    )
    if readable:
        try:
            readable = _agrees(model)
        except (RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError, NotImplementedError):
            readable = False
    if not readable:
        raise ModelFormatError(
            f"Language models of the kind {config.model_type!r} cannot be decoded with: they number positions, mask or "
            "remember in their own way.",
            "Choose one of the Llama, Mistral, Qwen, GPT-2 or OPT families.",
        )


@torch.inference_mode()
def _agrees(model: Any) -> bool:
    vocabulary = int(model.get_input_embeddings().weight.shape[0])
    prompt, ways = [i % vocabulary for i in (5, 9, 4, 7)], ([11, 8], [6, 13])
    device = model.device
    reading = Reading(model, beams=2, longest=6)
    table = model.get_input_embeddings()
    padded = torch.tensor([[prompt[0], *prompt]], device=device)
    reading.read([(table(padded), torch.tensor([1], device=device))])
    said = torch.tensor(ways, device=device) % vocabulary
    reading.say(said[:, 0][None], torch.tensor([[0, 0]], device=device))
    swapped = torch.tensor([[1, 0]], device=device)
    found = reading.say(said[:, 1][None][:, [1, 0]], swapped)[0].float()
    alone = torch.cat([torch.tensor([prompt, prompt], device=device), said], 1)
    expected = model(input_ids=alone, attention_mask=torch.ones_like(alone)).logits[[1, 0], -1].float()
    rough = 1e-3 if expected.dtype == model.dtype else 0.1
    return bool((found - expected).abs().max() <= rough * expected.abs().max())
