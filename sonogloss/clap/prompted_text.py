"""Inside a text tower: word embeddings, and texts with learned vectors in front of them.

A sentence's embedding is the text tower's head (its pooler, if it has one, and projection) on the state of its first
token. A word's embedding is the same head on the state of any other token, the closing one included.

A prompted label is `<s> V_1 ... V_N label </s>`, where the V are learned vectors of the width of the tower's word
embeddings. They replace word embeddings: positions, token types and the first normalization come after, as for any
word. (The released code of audio-free prompt tuning sends the output of that first layer through it a second time;
`compat` does so too. Vectors learned one way are useless the other way.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from sonogloss.clap.inputs import checked_texts
from sonogloss.clap.protocol import Clap
from sonogloss.clap.transformers_clap import TransformersClap, as_transformers, pad
from sonogloss.errors import OptionError
from sonogloss.one_thread import one_thread
from sonogloss.records import FloatArray

_BATCH = 64


class PromptedLabels:
    """Labels that take learned vectors in front of them; the CLAP itself is frozen.

    Args:
        clap: a CLAP in the layout of transformers' ClapModel.
        labels: names of classes, as words.
        slots: how many vectors there will be.
        compat: as of :func:`prompted_states`.

    Raises:
        OptionError: there are no labels, a label and the vectors are longer than the text tower's longest text, or the
            CLAP is of another backend.
    """

    def __init__(self, clap: Clap, labels: Sequence[str], slots: int, *, compat: bool = False) -> None:
        own = reads_both_ways(clap)
        if not labels:
            raise OptionError("There are no labels.", "Give at least one label.")
        # With a blank in front, as a word inside a sentence: byte-level tokenizers distinguish it from the first word.
        tokens = own.tokenize([f" {label.strip()}" for label in labels])
        limit = positions(own) - slots
        longest = max(range(len(labels)), key=lambda row: len(tokens[row]))
        if len(tokens[longest]) > limit:
            raise OptionError(
                f"The label {labels[longest]!r} has {len(tokens[longest])} tokens, and beside {slots} learned vectors "
                f"the text tower of {clap.name!r} has room for {limit}.",
                "Learn fewer vectors, or shorten the label.",
            )
        self._compat = compat
        self._model = own.model.requires_grad_(False)
        self._ids, self._mask = pad(tokens, own.model.config.text_config.pad_token_id)
        self._ids, self._mask = self._ids.to(own.model.device), self._mask.to(own.model.device)
        self.device: torch.device = own.model.device

    def encode(self, prompts: Tensor, rows: Tensor | None = None) -> Tensor:
        """Unit rows [labels, dim], or those of some rows only, with a gradient for the prompts [slots, width]."""
        ids, mask = self._ids, self._mask
        if rows is not None:
            longest = int(mask[rows].sum(dim=1).max())
            ids, mask = ids[rows, :longest], mask[rows, :longest]
        states = prompted_states(self._model.text_model, ids, mask, prompts, compat=self._compat)
        return normalize(text_head(self._model, states[:, :1])[:, 0], dim=-1)


def reads_both_ways(clap: Clap) -> TransformersClap:
    """The same CLAP, if its text tower reads in both directions and so sums a text up in its first state.

    Raises:
        OptionError: it does not, or the CLAP is of another backend.
    """
    own = as_transformers(clap, "words")
    if own.model.config.text_config.model_type == "gpt2":
        raise OptionError(
            f"The text tower of the CLAP {clap.name!r} is a GPT-2, which reads in one direction: nothing is "
            "learned with it here.",
            "Use a CLAP whose text tower is BERT or RoBERTa.",
        )
    return own


def width(clap: Clap) -> int:
    """Width of the text tower's word embeddings."""
    return int(reads_both_ways(clap).model.config.text_config.hidden_size)


def word_embeddings(clap: Clap, text: str) -> Tensor:
    """The embeddings [tokens, width] of a text's words, without the special tokens at its ends.

    Raises:
        OptionError: the text has no words.
    """
    own = reads_both_ways(clap)
    ids = own.tokenize([text])[0][1:-1]
    if not ids:
        raise OptionError(f"The text {text!r} has no words.", "Give at least one word.")
    table = own.model.text_model.get_input_embeddings().weight
    return table[torch.tensor(ids, device=table.device)].detach().float().cpu().clone()


def positions(clap: TransformersClap) -> int:
    """Tokens of the longest text that the tower has positions for."""
    config = clap.model.config.text_config
    return int(config.max_position_embeddings - config.pad_token_id - 1)


def prompted_states(tower: Any, ids: Tensor, mask: Tensor, prompts: Tensor, *, compat: bool = False) -> Tensor:
    """Last states of a text tower for texts with vectors inserted behind their first token.

    Args:
        tower: a transformers encoder with `embeddings`, that takes `inputs_embeds` (ClapTextModel, BertModel).
        ids: [n, length], padded on the right.
        mask: [n, length], 1 for a token, 0 for padding.
        prompts: [slots, width].
        compat: insert them into the embedding layer's output, which then passes that layer once more.

    Returns:
        [n, length + slots, width].
    """
    words = tower.embeddings(input_ids=ids) if compat else tower.get_input_embeddings()(ids)
    inserted = prompts.to(words.dtype).expand(len(ids), -1, -1)
    words = torch.cat([words[:, :1], inserted, words[:, 1:]], dim=1)
    mask = torch.cat([mask[:, :1], mask.new_ones(inserted.shape[:2]), mask[:, 1:]], dim=1)
    return tower(inputs_embeds=words, attention_mask=mask).last_hidden_state


def text_head(model: Any, states: Tensor) -> Tensor:
    """The text tower's head, from states [n, length, width] to embeddings [n, length, dim]; not normalized."""
    count, length, size = states.shape
    pooler = model.text_model.pooler  # not every text tower has one
    pooled = states.reshape(count * length, size) if pooler is None else pooler(states.reshape(count * length, 1, size))
    return model.text_projection(pooled).reshape(count, length, -1)


def embed_words(clap: Clap, texts: Sequence[str]) -> tuple[FloatArray, list[FloatArray]]:
    """Sentences and their words.

    Returns:
        Unit rows, float32: sentences [n, dim], as from `embed_text`, and for each text its words [tokens - 1, dim]:
        every token but the first, without padding.

    Raises:
        OptionError: the CLAP is of another backend.
    """
    own = reads_both_ways(clap)
    tokens = own.tokenize(checked_texts(texts))
    sentences = np.zeros((len(tokens), own.dim), np.float32)
    words: list[FloatArray] = [np.zeros((0, own.dim), np.float32)] * len(tokens)
    order = sorted(range(len(tokens)), key=lambda row: len(tokens[row]))
    for start in range(0, len(order), _BATCH):
        rows = order[start : start + _BATCH]
        ids, mask = pad([tokens[row] for row in rows], own.model.config.text_config.pad_token_id)
        with torch.inference_mode(), one_thread():
            states = own.model.text_model(
                input_ids=ids.to(own.model.device), attention_mask=mask.to(own.model.device)
            ).last_hidden_state
            vectors = normalize(text_head(own.model, states).float(), dim=-1).cpu().numpy()
        for line, row in enumerate(rows):
            sentences[row] = vectors[line, 0]
            words[row] = vectors[line, 1 : len(tokens[row])]
    return sentences, words
