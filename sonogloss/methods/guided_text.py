"""Text in guided search: which tokens end a caption, the texts of candidates, and a cache of their embeddings."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sonogloss.records import FloatArray

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

EmbedText = Callable[[Sequence[str]], FloatArray]
"""From texts to rows [n, dim], float32, as a CLAP's `embed_text`."""

_ENDINGS = frozenset(".!?")
# The clean-up of transformers 4, in its order. Version 5 has dropped it, and scores depend on it.
_CLEANED = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)


def ending_tokens(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The ids that end a caption: BOS, EOS, and a period, ` !` and ` ?` after a word.

    For vocabularies like OPT's these are exactly `</s>`, `.`, ` !` and ` ?`, as in the released code: `!` without a
    blank does not end a caption. In a vocabulary where the blank is a token of its own, `!` does.
    """
    special = {tokenizer.bos_token_id, tokenizer.eos_token_id} - {None}
    word = tokenizer("x", add_special_tokens=False)["input_ids"]
    followed: list[int] = tokenizer("x. ! ?", add_special_tokens=False)["input_ids"]
    marks = {i for i in followed[len(word) :] if spell(tokenizer, [[i]])[0].strip() in _ENDINGS}
    return frozenset(special | marks)


def tidy(text: str) -> str:
    """Remove blanks before punctuation and contractions: `a dog .` becomes `a dog.`."""
    for spaced, joined in _CLEANED:
        text = text.replace(spaced, joined)
    return text


def candidate_texts(
    tokenizer: PreTrainedTokenizerBase, so_far: Sequence[int], candidates: Sequence[int], *, limit: int
) -> tuple[str, ...]:
    """The caption so far followed by each of the candidates, as input of the text encoder.

    Special tokens keep their spelling; only the last `limit` tokens count.
    """
    return spell(tokenizer, [[*so_far, candidate][-limit:] for candidate in candidates])


def spell(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[int]]) -> tuple[str, ...]:
    """The text of each row of ids, special tokens kept, cleaned up."""
    plain = tokenizer.batch_decode(
        [list(row) for row in rows], skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    return tuple(map(tidy, plain))


def finished_text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """A caption's text on one line: up to the first EOS, cleaned up."""
    eos = tokenizer.eos_token_id
    ids = list(ids)
    if eos in ids:
        ids = ids[: ids.index(eos)]
    [text] = spell(tokenizer, [ids])
    return " ".join(text.split())


class TextMemo:
    """A cache of the unit embeddings of texts.

    Most continuations repeat: two clips with one prompt begin with the same candidates. The least recently used
    embeddings are evicted when the cache is full; its size changes the cost, never a result.

    Args:
        embed_text: the text encoder; its rows need not be of unit length.
        max_bytes: of cached vectors; 0 caches nothing between calls.

    Attributes:
        encoded: how many texts the text encoder has embedded.
    """

    def __init__(self, embed_text: EmbedText, *, max_bytes: int) -> None:
        self._embed_text, self._max_bytes = embed_text, max_bytes
        self._rows: OrderedDict[str, FloatArray] = OrderedDict()
        self.encoded = 0

    def embed(self, groups: Sequence[Sequence[str]]) -> list[FloatArray]:
        """Unit rows [len(group), dim] for each group of texts; those that are not cached are embedded in one call."""
        missing = [text for text in dict.fromkeys(t for group in groups for t in group) if text not in self._rows]
        if missing:
            rows = np.asarray(self._embed_text(missing), np.float32)
            lengths = np.linalg.norm(rows, axis=1, keepdims=True)
            rows = rows / np.maximum(lengths, np.finfo(np.float32).tiny)
            for text, row in zip(missing, rows, strict=True):
                self._rows[text] = row.astype(np.float32)  # a copy: a view would keep the whole call's rows alive
            self.encoded += len(missing)
        found = [np.stack([self._cached(text) for text in group]) for group in groups]
        self._evict()
        return found

    def _cached(self, text: str) -> FloatArray:
        self._rows.move_to_end(text)
        return self._rows[text]

    def _evict(self) -> None:
        if not self._rows:
            return
        capacity = self._max_bytes // next(iter(self._rows.values())).nbytes
        while len(self._rows) > capacity:
            self._rows.popitem(last=False)
