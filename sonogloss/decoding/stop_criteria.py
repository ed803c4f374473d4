"""Which token ends a caption: the end-of-text token, or one that completes a stop string."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

_REPLACEMENT = "\ufffd"  # what a tokenizer decodes bytes to that are not yet a character


class StopCriteria:
    """Tells whether sequences of new tokens end with their last token.

    A stop string inside one token is found by a table of tokens. One that can also be spelled over several tokens is
    looked for in the decoded text, but only after tokens that could complete it.

    Args:
        tokenizer: of the language model.
        eos_id: always ends a caption.
        stop: strings that end one as well; text before the caption does not count.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, eos_id: int, stop: Sequence[str]) -> None:
        self._tokenizer, self._eos_id, self._stop = tokenizer, eos_id, tuple(stop)
        self._certain = {eos_id}
        self._possible: set[int] = set()
        for token, text in enumerate(_token_texts(tokenizer) if stop else []):
            if any(string in text for string in stop):
                self._certain.add(token)
            elif _REPLACEMENT in text or any(_could_complete(text, string) for string in stop):
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


def _token_texts(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """What every token adds to a text, decoded after another token: SentencePiece drops the first token's blank."""
    anchor = int(tokenizer("a", add_special_tokens=False)["input_ids"][-1])
    size = len(tokenizer)
    texts = tokenizer.batch_decode(
        [[anchor], *[[anchor, token] for token in range(size)]], clean_up_tokenization_spaces=False
    )
    before = len(texts[0])
    return [text[before:] for text in texts[1:]]


def _could_complete(text: str, string: str) -> bool:
    """Could a token that adds `text` complete `string`, begun by earlier tokens?"""
    return any(text.startswith(string[at:]) for at in range(1, len(string)))
