"""ZerAuCap: caption with models that were never trained for it (Salewski et al., arXiv 2311.08396).

The keywords of a vocabulary that lie nearest to the audio embedding are named in a prompt, and a language model as it
comes continues it; at each step the CLAP chooses among its next words. The method retrieves, projects and learns
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sonogloss.errors import OptionError
from sonogloss.methods.base import Captioner
from sonogloss.methods.half_captions import HalfCaptions
from sonogloss.methods.zeraucap.guided import GuidedDecoder
from sonogloss.methods.zeraucap.method import GuidedSettings
from sonogloss.methods.zeraucap.prompt import KeywordPrompt, compose_keyword_prompts
from sonogloss.records import FloatArray, LabelScore


class ZerAuCapCaptioner(HalfCaptions, Captioner):
    """A ZerAuCap captioner in memory; see :class:`~sonogloss.methods.base.Captioner`.

    With beta 0 a caption depends on its keywords alone, and each list of keywords is decoded once.

    Args:
        **parts: as for :class:`~sonogloss.methods.base.Captioner`.

    Raises:
        ModelFormatError: labels, prompt and CLAP do not fit together.
        OptionError: the longest prompt leaves no token for a caption.
    """

    method = "zeraucap"
    prompt: KeywordPrompt
    decode: GuidedSettings

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self.search = GuidedDecoder(self.language_model, self._embed_text, self.decode)
        self._known: dict[tuple[str, ...], str] = {}  # captions by keywords, when they depend on nothing else
        self._check_prompt_length()

    def caption(
        self, embeddings: FloatArray, contexts: Sequence[Sequence[str]], *, beams: int | None = None
    ) -> list[str]:
        """One sentence a clip, for unit audio embeddings [n, dim]; retrieved captions are not read.

        Empty where the language model ended without a word: the released code returns its prompt then.

        Raises:
            OptionError: the embeddings have another shape, or beams were asked for.
        """
        self.check_embeddings(embeddings, len(contexts))
        if beams is not None:
            raise OptionError("Guided search has no beams.", "Leave the number of beams out.")
        names = self.names(embeddings)
        if self.decode.beta > 0:
            return self._write(names, embeddings)
        named = [tuple(words) for words in names]
        new = [words for words in dict.fromkeys(named) if words not in self._known]
        # Without guidance no embedding decides anything; any will do.
        captions = self._write(new, np.zeros((len(new), self.clap.dim), np.float32))
        self._known.update(zip(new, captions, strict=True))
        return [self._known[words] for words in named]

    def names(self, embeddings: FloatArray) -> list[list[str]]:
        """See :meth:`~sonogloss.methods.base.Captioner.names`; keywords too like one another are skipped."""
        if self.labels is None:
            return [[] for _ in embeddings]
        return self.labels.names(embeddings, self.prompt.keywords, most_alike=self.prompt.keyword_cosine)

    def keywords(self, embeddings: FloatArray) -> list[tuple[LabelScore, ...]]:
        """See :meth:`~sonogloss.methods.base.Captioner.keywords`."""
        if self.labels is None:
            return [() for _ in embeddings]
        return self.labels.nearest(embeddings, self.prompt.keywords, most_alike=self.prompt.keyword_cosine)

    def _write(self, names: Sequence[Sequence[str]], embeddings: FloatArray) -> list[str]:
        prompts = compose_keyword_prompts(names, self.prompt, self.language_model.tokenizer)
        return [self.prompt.caption_of(text) for text in self.search.decode_texts(prompts, embeddings)]

    def _check_prompt_length(self) -> None:
        """The longest keywords must leave a token for the caption: fails here, not at the first such clip."""
        labels = () if self.labels is None else self.labels.labels
        tokenizer = self.language_model.tokenizer
        lengths = [len(ids) for ids in compose_keyword_prompts([[label] for label in labels], self.prompt, tokenizer)]
        order = sorted(range(len(labels)), key=lambda i: lengths[i], reverse=True)
        longest = [labels[i] for i in order[: self.prompt.keywords]]
        [prompt] = compose_keyword_prompts([longest], self.prompt, tokenizer)
        most = self.search.longest(len(prompt))
        self.max_prompt_tokens = max(len(prompt), most - 1)
        if len(prompt) >= most:
            raise OptionError(
                f"With its longest keywords{' and its examples' * bool(self.prompt.examples)} the prompt takes "
                f"{len(prompt)} tokens, and prompt and caption together may have {most}.",
                f"Allow for more tokens, name fewer keywords{' or give fewer examples' * bool(self.prompt.examples)}.",
            )
