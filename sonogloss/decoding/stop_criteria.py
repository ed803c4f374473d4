"""Which token ends a caption: the end-of-text token, or one that completes a stop string."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

_BROKEN = "\ufffd"  # how a tokenizer spells bytes that are not yet a character


class Endings:
    """Tells whether sequences of new tokens have come to their end with the last one.

    A stop string that one token holds is found by looking the token up. One that can also be spelled over several
    tokens is looked for in the text, but only behind tokens that could complete it.

    Args:
        tokenizer: of the language model.
        eos_id: always ends a caption.
        stop: strings that end one as well; text before the caption does not count.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, eos_id: int, stop: Sequence[str]) -> None:
        self._tokenizer, self._eos_id, self._stop = tokenizer, eos_id, tuple(stop)
        self._certain = {eos_id}
        self._possible: set[int] = set()
        for token, text in enumerate(_texts(tokenizer) if stop else []):
            if any(string in text for string in stop):
                self._certain.add(token)
            elif _BROKEN in text or any(_completes(text, string) for string in stop):
                self._possible.add(token)
        self._tables: dict[tuple[int, torch.device], Tensor] = {}

    def __call__(self, ids: Tensor, vocabulary: int) -> Tensor:
        """Which of the sequences `ids` [..., t] end at their last token, as booleans [...]."""
        if not self._stop:
            return ids[..., -1] == self._eos_id
        kinds = self._table(vocabulary, ids.device)[ids[..., -1]]
        ends = kinds == 2
        if self._possible:
            for place in (kinds == 1).nonzero().tolist():
                text = self._tokenizer.decode(ids[tuple(place)].tolist(), clean_up_tokenization_spaces=False)
                ends[tuple(place)] = any(string in text for string in self._stop)
        return ends

    def _table(self, vocabulary: int, device: torch.device) -> Tensor:
        """For every token of a model: 2 it ends a caption, 1 it may, 0 it does not."""
        table = self._tables.get((vocabulary, device))
        if table is None:
            table = torch.zeros(vocabulary, dtype=torch.uint8)
            table[[token for token in self._possible if token < vocabulary]] = 1
            table[[token for token in self._certain if token < vocabulary]] = 2
            table = self._tables[vocabulary, device] = table.to(device)
        return table


def _texts(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """What every token adds to a text: SentencePiece drops the blank of a text's first token, so none stands first."""
    anchor = int(tokenizer("a", add_special_tokens=False)["input_ids"][-1])
    size = len(tokenizer)
    texts = tokenizer.batch_decode(
        [[anchor], *[[anchor, token] for token in range(size)]], clean_up_tokenization_spaces=False
    )
    before = len(texts[0])
    return [text[before:] for text in texts[1:]]


def _completes(text: str, string: str) -> bool:
    """Could a text that ends in `text` have `string` end within it, begun before?"""
    return any(text.startswith(string[at:]) for at in range(1, len(string)))
