"""Sequences of token ids with slots for soft prompt vectors: prompts as language models take them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sonogloss.errors import ModelFormatError, OptionError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

AUDIO_SLOT = -1
"""Marks the place of a soft prompt vector in a sequence of ids."""

IGNORED = -100
"""The label of a position without a loss (the value that PyTorch's cross-entropy ignores)."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A training sequence: `labels` are `ids` at the answer and its end, :data:`IGNORED` elsewhere."""

    ids: list[int]
    labels: list[int]


def end_of_text(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id that ends an answer.

    Raises:
        ModelFormatError: the tokenizer names none.
    """
    if tokenizer.eos_token_id is None:
        raise ModelFormatError("The language model's tokenizer names no end-of-text token.", "Set its eos_token.")
    return int(tokenizer.eos_token_id)


def too_long(length: int, limit: int) -> OptionError:
    """The error of a prompt that is too long even without its optional parts."""
    return OptionError(
        f"The prompt has {length} tokens, but the language model leaves room for {limit}.",
        "Shorten the prompt or ask for fewer new tokens.",
    )


def tokenize(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Ids without special tokens. A special token spelled out in a text is words: a caption cannot end the sequence."""
    distinct = list(dict.fromkeys(texts))
    settings = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
    ids = tokenizer(distinct, **settings)["input_ids"] if distinct else []
    of_text = dict(zip(distinct, ids, strict=True))
    return [of_text[text] for text in texts]


def fill_slots(words: Tensor, slots: Tensor, soft: Tensor) -> Tensor:
    """Put soft prompt vectors into the audio slots of sequences.

    Args:
        words: word embeddings [b, t, width]; those at the slots do not matter.
        slots: [b, t], true at the slots, of which every row has the same number.
        soft: [b, slots, width].

    Returns:
        Input vectors [b, t, width] of the language model, with the words' dtype.
    """
    # `nonzero` goes row by row and in each row from left to right, which is the order of the vectors.
    return words.index_put(slots.nonzero(as_tuple=True), soft.flatten(0, 1).to(words.dtype))
