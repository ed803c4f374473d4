"""A cache of a language model's states: a prefix tree for each prompt, each node computed once.

The most probable next tokens are a function of the prompt and the tokens after it. Guided search needs the same ones
again and again, as clips with the same keywords begin with the same words; and of its candidates only the winner is
continued: one row of the model instead of one a candidate.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import DynamicCache

from sonogloss.decoding.language_model import LanguageModel
from sonogloss.errors import ModelFormatError
from sonogloss.records import FloatArray


class State:
    """A node of the tree: the parent's tokens and then `ids`. Filled by :meth:`LanguageStates.read`.

    `top_ids`, `probabilities`: [m] the most probable next tokens, best first. `repetition`: [m] for each of them the
    largest cosine of its hidden state and one of the tokens before. `texts`: the caption so far with each of them.
    """

    __slots__ = (
        "children",
        "hidden",
        "ids",
        "keys_values",
        "length",
        "parent",
        "probabilities",
        "repetition",
        "texts",
        "top_ids",
    )

    def __init__(self, parent: State | None, ids: Sequence[int]) -> None:
        self.parent, self.ids = parent, tuple(ids)
        self.length: int = len(self.ids) + (parent.length if parent is not None else 0)
        self.children: dict[int, State] = {}
        self.keys_values: Tensor | None = None  # [layers, 2, heads, len(ids), width], of its own ids only
        self.hidden: Tensor | None = None  # [len(ids), width]
        self.top_ids: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self.probabilities: FloatArray = np.zeros(0, np.float32)
        self.repetition: FloatArray | None = None
        self.texts: tuple[str, ...] | None = None

    def child(self, token: int) -> State:
        """The node of one more token."""
        if token not in self.children:
            self.children[token] = State(self, (token,))
        return self.children[token]

    def release(self) -> None:
        """Cut the links to all nodes below, which form cycles, so that their memory is free at once.

        Nodes that are still being decoded keep their own parents.
        """
        pending = [self]
        while pending:
            state = pending.pop()
            pending.extend(state.children.values())
            state.children = {}

    def path(self) -> list[State]:
        """The nodes from the prompt down to this one."""
        path: list[State] = []
        state: State | None = self
        while state is not None:
            path.append(state)
            state = state.parent
        return path[::-1]

    def tokens(self) -> list[int]:
        """The ids after the prompt."""
        return [state.ids[0] for state in self.path()[1:]]


class LanguageStates:
    """A language model and the cache of its states.

    Args:
        language_model: a decoder whose attention keeps keys and values for every position.
        candidates: m, how many next tokens are kept of a distribution.
        hidden: keep hidden states, which :meth:`weigh_repetition` needs.
        max_bytes: approximate size of the cache between searches; the least recently used prompts are evicted first.
            0 caches nothing.

    Attributes:
        rows: how many rows the language model has computed.

    Raises:
        ModelFormatError: the language model keeps another kind of state (recurrent, compressed).
    """

    def __init__(self, language_model: LanguageModel, *, candidates: int, hidden: bool, max_bytes: int) -> None:
        self._model, self._pad_id = language_model.model, language_model.pad_id
        self._candidates, self._hidden, self._max_bytes = candidates, hidden, max_bytes
        self._roots: OrderedDict[tuple[int, ...], State] = OrderedDict()
        self._bytes: dict[tuple[int, ...], int] = {}
        accepted = inspect.signature(self._model.forward).parameters
        self._takes_positions = "position_ids" in accepted
        self._options: dict[str, Any] = {"use_cache": True, "output_hidden_states": hidden}
        if "logits_to_keep" in accepted:
            self._options["logits_to_keep"] = 1
        self.rows = 0
        self._check()

    def root(self, prompt: Sequence[int]) -> State:
        """The state of a prompt."""
        key = tuple(prompt)
        if key not in self._roots:
            self._roots[key], self._bytes[key] = State(None, key), 0
        self._roots.move_to_end(key)
        return self._roots[key]

    @torch.inference_mode()
    def read(self, states: Sequence[State]) -> None:
        """Run the model on states that are not computed yet; their parents must be."""
        new = [state for state in dict.fromkeys(states) if not len(state.top_ids)]
        for group in ([s for s in new if s.parent is None], [s for s in new if s.parent is not None]):
            if group:
                self._compute(group)
        self._evict()

    @torch.inference_mode()
    def weigh_repetition(self, state: State) -> FloatArray:
        """For each candidate of a state, the largest cosine of its hidden state and one of the tokens before, [m].

        This runs the model on every candidate: a pass of m rows.
        """
        if state.repetition is None:
            _, hidden = self._forward([state] * len(state.top_ids), [[int(token)] for token in state.top_ids])
            assert hidden is not None
            before = torch.cat([node.hidden for node in state.path() if node.hidden is not None])
            cosines = _unit(hidden[:, -1].float()) @ _unit(before.float()).T
            state.repetition = cosines.amax(dim=1).cpu().numpy()
        return state.repetition

    def _compute(self, states: list[State]) -> None:
        output, hidden = self._forward([state.parent for state in states], [list(state.ids) for state in states])
        logits = output.logits[:, -1].float()
        best = logits.softmax(dim=-1).topk(min(self._candidates, logits.shape[1]))
        top_ids, probabilities = best.indices.cpu().numpy(), best.values.cpu().numpy()
        layers = [torch.stack((layer.keys, layer.values)) for layer in output.past_key_values.layers]
        stacked = torch.stack(layers)  # [layers, 2, rows, heads, positions, width]
        for row, state in enumerate(states):
            new = len(state.ids)
            state.keys_values = stacked[:, :, row, :, -new:].clone()
            if hidden is not None:
                state.hidden = hidden[row, -new:].clone()
            state.top_ids, state.probabilities = top_ids[row], probabilities[row]
            self._count(state)

    def _forward(self, parents: Sequence[State | None], ids: Sequence[Sequence[int]]) -> tuple[Any, Tensor | None]:
        """Run the model on ids after each row's parent, padded on the left. All rows have a parent, or none has."""
        device = self._model.device
        longest = max(map(len, ids))
        new = torch.tensor([[self._pad_id] * (longest - len(row)) + list(row) for row in ids], device=device)
        mask = [[0] * (longest - len(row)) + [1] * len(row) for row in ids]
        cache = DynamicCache()
        known = [parent for parent in parents if parent is not None]
        if known:
            past = max(parent.length for parent in known)
            mask = [[0] * (past - p.length) + [1] * p.length + row for p, row in zip(known, mask, strict=True)]
            for layer, (keys, values) in enumerate(_past(known, past)):
                cache.update(keys, values, layer)
        attention = torch.tensor(mask, device=device)
        positions = {}
        if self._takes_positions:  # counted from a row's first real token
            positions["position_ids"] = (attention.cumsum(dim=1) - 1).clamp(min=0)[:, -longest:]
        output = self._model(
            input_ids=new, attention_mask=attention, past_key_values=cache, **positions, **self._options
        )
        self.rows += len(ids)
        return output, output.hidden_states[-1] if self._hidden else None

    def _check(self) -> None:
        try:
            with torch.inference_mode():
                output, _ = self._forward([None], [[self._pad_id]])
            kept = [layer.keys.shape[-2] for layer in output.past_key_values.layers]
        except (AttributeError, TypeError, ValueError) as problem:
            raise _unsupported() from problem
        if not kept or set(kept) != {1}:
            raise _unsupported()
        self.rows = 0

    def _count(self, state: State) -> None:
        prompt = state.path()[0].ids
        if prompt in self._bytes and state.keys_values is not None:
            vectors = state.keys_values.nbytes + (0 if state.hidden is None else state.hidden.nbytes)
            self._bytes[prompt] += vectors + self._candidates * _BYTES_A_CANDIDATE

    def _evict(self) -> None:
        while self._roots and sum(self._bytes.values()) > self._max_bytes:
            prompt, root = self._roots.popitem(last=False)
            del self._bytes[prompt]
            root.release()


_BYTES_A_CANDIDATE = 128  # id, probability and text


def _past(states: Sequence[State], longest: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Keys and values [rows, heads, longest, width] of every layer; zeros after the end of a shorter row."""
    rows = []
    for state in states:
        row = torch.cat([node.keys_values for node in state.path() if node.keys_values is not None], dim=3)
        rows.append(torch.nn.functional.pad(row, (0, 0, longest - state.length, 0)))
    for layer in torch.stack(rows, dim=2):  # [2, rows, heads, longest, width]
        yield layer[0], layer[1]


def _unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=-1, keepdim=True)


def _unsupported() -> ModelFormatError:
    return ModelFormatError(
        "The language model does not keep keys and values for every position, which guided search needs.",
        "Name a decoder with plain attention, such as OPT, GPT-2 or Llama.",
    )
