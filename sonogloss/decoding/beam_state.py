"""A language model's state in the middle of beam search: the KV cache of a batch, and a mask for its beams.

The beams of a clip are queries of one row, not rows of their own. Each token of a beam takes a new entry in the row's
cache, and a mask says which entries a beam descends from::

    entry    0 1 2 3 4 | 5 6 | 7 8          two beams after two steps; both continue the first token of beam 0
    beam 0   p p p p . | x . | x .          (p prompt, x token, '.' masked; a short prompt leaves entries unused)
    beam 1   p p p p . | x . | . x

So a prompt is computed and stored once whatever the number of beams, choosing other beams changes a mask and moves no
key or value, and attention over a prompt is shared by all beams. The model must take positions and a mask from outside
and keep its keys and values in transformers' cache; :func:`check_supported` tests this.
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

from sonogloss.decoding.kv_cache import KVCacheLayer, WritePosition
from sonogloss.errors import ModelFormatError

_STEPS = 16  # cache entries are allocated for this many steps at a time
_ROUND = 64  # prompts of compiled models take a multiple of this many entries: few shapes, few compilations
_OWN_WINDOWS = {"gpt_neo"}  # its local layers count cache entries, which here include those of other beams
_FULL, _SLIDING = "full_attention", "sliding_attention"


class BeamState:
    """A model and the state of a batch of prompts; one empty row at first.

    Args:
        model: a causal language model of transformers that :func:`check_supported` accepts.
        beams: for each clip.
        longest: tokens of the longest prompt and its caption.
        compiled_forward: the model's compiled `forward` for steps of beams. All steps then have the same shapes:
            attention covers the full capacity of the cache, most of it masked.
        max_steps: upper limit of steps; a compiled model has cache entries for all of them from the start.
    """

    def __init__(
        self,
        model: Any,
        *,
        beams: int,
        longest: int,
        compiled_forward: Callable[..., Any] | None = None,
        max_steps: int = 0,
    ) -> None:
        self._model, self._beams, self._compiled_forward = model, beams, compiled_forward
        self._growth = beams * (_STEPS if compiled_forward is None else max_steps)
        config = model.config.get_text_config(decoder=True)
        self._sliding = _sliding_window(config, longest)
        self._dtype = model.get_input_embeddings().weight.dtype
        self._write = WritePosition(clips=1, rows=slice(0, 1))
        self._layers = [KVCacheLayer(self._write) for _ in range(config.num_hidden_layers)]
        self._cache = Cache(layers=list(self._layers))
        # The text position of every entry [clips, entries], and which beams see it [clips, beams, entries].
        self._positions = torch.zeros(1, 0, dtype=torch.int64, device=model.device)
        self._visible = torch.zeros(1, beams, 0, dtype=torch.bool, device=model.device)
        self._next = torch.zeros(1, dtype=torch.int64, device=model.device)  # text position of the next token [clips]

    def expand(self, clips: int) -> BeamState:
        """A state with a row for each clip, all with the content of this one's only row."""
        start = self._write.start
        state = copy(self)
        state._write = WritePosition(clips=clips, rows=slice(0, clips), start=start, capacity=start)
        state._layers = [layer.expand(state._write) for layer in self._layers]
        state._cache = Cache(layers=list(state._layers))
        state._positions, state._visible, state._next = (
            array.expand(clips, *array.shape[1:])
            for array in (self._positions[:, :start], self._visible[:, :, :start], self._next)
        )
        return state

    def prefill(self, groups: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Compute prompts, each group in one forward pass.

        Args:
            groups: of all clips, in their order: input vectors [group, t, width], padded on the left, and how many of
                each are padding [group].

        Returns:
            Logits [clips, 1, vocabulary] after the last vector of each.
        """
        width, first, logits = max(vectors.shape[1] for vectors, _ in groups), 0, []
        before, start = self._positions, self._write.start
        used = start + width
        self._write.capacity = self._growth + (
            used if self._compiled_forward is None else _ROUND * math.ceil(used / _ROUND)
        )
        positions = before.new_zeros(self._write.clips, width)
        real = self._visible.new_zeros(self._write.clips, width)
        for vectors, pads in groups:
            rows = self._write.rows = slice(first, first + len(vectors))
            first = rows.stop
            offsets = torch.arange(vectors.shape[1], device=vectors.device)
            here = self._next[rows, None] + (offsets - pads[:, None]).clamp(min=0)
            entries = torch.cat([before[rows], here], 1)
            unpadded = torch.cat([self._visible[rows, 0], offsets >= pads[:, None]], 1)
            visible = unpadded[:, None, :] & (entries[:, None, :] <= here[:, :, None])
            logits.append(self._forward({"inputs_embeds": vectors, "logits_to_keep": 1}, here, entries, visible))
            positions[rows, : len(offsets)], real[rows, : len(offsets)] = here, offsets >= pads[:, None]
        self._write.rows, self._write.start = slice(0, self._write.clips), used
        self._positions = self._padded(torch.cat([before, positions], 1))
        self._visible = self._padded(torch.cat([self._visible, real[:, None].expand(-1, self._beams, -1)], 2))
        self._next = positions.max(1).values + 1
        return torch.cat(logits)

    def step(self, tokens: Tensor, parents: Tensor) -> Tensor:
        """Compute one more token of every beam.

        Args:
            tokens: [clips, beams].
            parents: [clips, beams] the beams of the step before that they continue.

        Returns:
            Logits [clips, beams, vocabulary].
        """
        start, end = self._write.start, self._write.start + self._beams
        if end > self._write.capacity:
            self._write.capacity += self._growth
            self._positions, self._visible = self._padded(self._positions), self._padded(self._visible)
        here = self._next[:, None].expand_as(tokens)
        self._visible = self._visible.gather(1, parents[:, :, None].expand(-1, -1, self._write.capacity))
        self._visible[:, :, start:end] = torch.eye(self._beams, dtype=torch.bool, device=tokens.device)
        self._positions[:, start:end] = here
        shown = end if self._compiled_forward is None else self._write.capacity
        if self._compiled_forward is not None:
            self._write.entries = torch.arange(start, end, device=tokens.device)
        logits = self._forward(
            {"input_ids": tokens},
            here,
            self._positions[:, :shown],
            self._visible[:, :, :shown],
            self._compiled_forward,
        )
        self._next = self._next + 1
        self._write.start = end
        return logits

    def select(self, rows: Sequence[int]) -> None:
        """Continue with these clips only: new row i is old row `rows[i]`. Rows with `rows[i] == i` cost no copy."""
        moved = [(target, source) for target, source in enumerate(rows) if target != source]
        targets, sources, order = (
            torch.tensor(indices, dtype=torch.int64, device=self._next.device)
            for indices in ([target for target, _ in moved], [source for _, source in moved], list(rows))
        )
        self._write.clips, self._write.rows = len(rows), slice(0, len(rows))
        for layer in self._layers:
            layer.select(targets, sources)
        self._positions, self._visible, self._next = (
            array.index_select(0, order) for array in (self._positions, self._visible, self._next)
        )

    def _padded(self, array: Tensor) -> Tensor:
        """An array [..., entries] padded to the cache's capacity."""
        return nn.functional.pad(array, (0, self._write.capacity - array.shape[-1]))

    def _forward(
        self,
        inputs: dict[str, Any],
        positions: Tensor,
        entries: Tensor,
        visible: Tensor,
        forward: Callable[..., Any] | None = None,
    ) -> Tensor:
        """Logits of queries at positions [b, q] that see entries [b, q, k], whose own positions are [b, k]."""
        full = self._mask(visible)
        masks: Tensor | dict[str, Tensor] = full
        if self._sliding is not None:
            window, kinds = self._sliding
            near = self._mask(visible & (positions[:, :, None] - entries[:, None, :] < window))
            masks = near if kinds == {_SLIDING} else {_FULL: full, _SLIDING: near}
        output = (forward or self._model)(
            **inputs, position_ids=positions, attention_mask=masks, past_key_values=self._cache, use_cache=True
        )
        logits: Tensor = output.logits
        return logits

    def _mask(self, visible: Tensor) -> Tensor:
        """The additive attention mask, [b, 1, q, k]."""
        hidden = torch.tensor(torch.finfo(self._dtype).min, dtype=self._dtype, device=visible.device)
        return torch.where(visible, torch.zeros_like(hidden), hidden)[:, None]


def _sliding_window(config: Any, longest: int) -> tuple[int, set[str]] | None:
    """The width of sliding attention and the kinds of layers; None where no sequence is longer than the width."""
    window: int | None = getattr(config, "sliding_window", None)
    if window is None or longest <= window:
        return None
    return window, set(getattr(config, "layer_types", None) or {_SLIDING})


def check_supported(model: Any) -> None:
    """Check that a model decodes with :class:`BeamState`, by comparing two beams in one row with each of them alone.

    Raises:
        ModelFormatError: the model numbers positions by itself, makes its own mask or keeps another kind of state.
    """
    config = model.config.get_text_config(decoder=True)
    needed = {"inputs_embeds", "position_ids", "attention_mask", "past_key_values", "logits_to_keep"}
    supported = (
        needed <= set(inspect.signature(model.forward).parameters)
        and set(getattr(config, "layer_types", None) or ()) <= {_FULL, _SLIDING}
        and config.model_type not in _OWN_WINDOWS
    )
    if supported:
        try:
            supported = _beams_agree(model)
        except (RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError, NotImplementedError):
            supported = False
    if not supported:
        raise ModelFormatError(
            f"Language models of the kind {config.model_type!r} are not supported: they number positions, mask or keep "
            "state in their own way.",
            "Choose one of the Llama, Mistral, Qwen, GPT-2 or OPT families.",
        )


@torch.inference_mode()
def _beams_agree(model: Any) -> bool:
    """Do two beams of one row, swapped between two steps, get the logits of their whole sequences?"""
    table, device = model.get_input_embeddings(), model.device
    vocabulary = int(table.weight.shape[0])
    prompt = [i % vocabulary for i in (5, 9, 4, 7)]
    continuations = torch.tensor([[11, 8], [6, 13]], device=device) % vocabulary
    state = BeamState(model, beams=2, longest=6)
    padded = torch.tensor([[prompt[0], *prompt]], device=device)
    state.prefill([(table(padded), torch.tensor([1], device=device))])
    state.step(continuations[:, 0][None], torch.tensor([[0, 0]], device=device))
    swapped = torch.tensor([[1, 0]], device=device)
    found = state.step(continuations[:, 1][None][:, [1, 0]], swapped)[0].float()
    whole = torch.cat([torch.tensor([prompt, prompt], device=device), continuations], 1)
    expected = model(input_ids=whole, attention_mask=torch.ones_like(whole)).logits[[1, 0], -1].float()
    tolerance = 1e-3 if expected.dtype == model.dtype else 0.1
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max())
