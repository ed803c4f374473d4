"""ZerAuCap: caption with models that were never trained for it (Salewski et al., arXiv 2311.08396).

The keywords of a vocabulary that lie nearest to the audio embedding are named in a prompt, and a language model as it
comes continues it; at each step the CLAP chooses among its next words. Nothing is retrieved, projected or learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sonogloss.clap import load_clap
from sonogloss.decoding.language_model import LanguageModel
from sonogloss.errors import FingerprintMismatchError, ModelFormatError, OptionError
from sonogloss.methods.base import ClapReference
from sonogloss.methods.generator import open_language_model
from sonogloss.methods.labels import LabelBank, TextEncoder, load_bank
from sonogloss.methods.manifest import Manifest
from sonogloss.methods.zeraucap.guided import GuidedDecoder
from sonogloss.methods.zeraucap.prompt import KeywordPrompt, compose_keyword_prompts
from sonogloss.methods.zeraucap.settings import GuidedSettings
from sonogloss.records import FloatArray, LabelScore


class ZerAuCapCaptioner:
    """A ZerAuCap captioner in memory; see :class:`~sonogloss.methods.base.Captioner`.

    It embeds its own half-finished captions and so needs the text encoder of its CLAP: what :meth:`read_text_with` was
    given, else the CLAP by the name in its manifest, loaded at the first caption that asks for it.

    Args:
        language_model: any causal language model.
        prompt: its words, and how many keywords they name.
        labels: the vocabulary of keywords.
        clap: whose audio embeddings it takes.
        decode: how it searches. With beta 0 the sound is heard in the keywords alone, and each list of keywords is
            decoded once.
        fingerprint: sha256 of all that decides a caption.
        device: where the CLAP runs if this captioner has to load it.

    Raises:
        ModelFormatError: labels and CLAP do not fit together.
        OptionError: there are fewer labels than the prompt names, or a prompt leaves no room for a caption.
    """

    method = "zeraucap"
    contexts = 0
    projection = None
    beams = None

    def __init__(
        self,
        *,
        language_model: LanguageModel,
        prompt: KeywordPrompt,
        labels: LabelBank,
        clap: ClapReference,
        decode: GuidedSettings,
        fingerprint: str,
        device: str = "cpu",
    ) -> None:
        if (labels.clap, labels.dim) != (clap.fingerprint, clap.dim):
            raise ModelFormatError(
                f"The keywords were embedded with another CLAP ({labels.clap[:12]}) than the captioner's "
                f"({clap.fingerprint[:12]}).",
                "Restore the captioner directory, or make it again.",
            )
        if prompt.keywords > len(labels.labels):
            raise OptionError(
                f"The prompt names {prompt.keywords} keywords of {len(labels.labels)}.", "Name more labels."
            )
        self.clap, self.fingerprint, self.prompt, self.labels, self.decode = clap, fingerprint, prompt, labels, decode
        self.names_labels = prompt.keywords > 0
        self.language_model, self._device = language_model, device
        self._text_encoder: TextEncoder | None = None
        self.search = GuidedDecoder(language_model, self._embed_text, decode)
        self._known: dict[tuple[str, ...], str] = {}  # captions by keywords, when they depend on nothing else
        self.room = self.search.max_tokens - 1
        self._check_room()

    @classmethod
    def open(
        cls, directory: Path, manifest: Manifest, *, device: str = "cpu", dtype: str | None = None
    ) -> ZerAuCapCaptioner:
        """Load the parts that a manifest names from its directory."""
        if not isinstance(manifest.prompt, KeywordPrompt) or not isinstance(manifest.decode, GuidedSettings):
            raise ModelFormatError("The captioner's prompt is not one of keywords.", "Restore its captioner.json.")
        if manifest.labels is None:
            raise ModelFormatError("The captioner has no keywords.", "Restore its captioner.json.")
        return cls(
            language_model=open_language_model(directory, manifest.language_model, device=device, dtype=dtype),
            prompt=manifest.prompt,
            labels=load_bank(str(directory / manifest.labels)),
            clap=manifest.clap,
            decode=manifest.decode,
            fingerprint=manifest.fingerprint,
            device=device,
        )

    def read_text_with(self, clap: TextEncoder) -> None:
        """Embed captions with a CLAP that is loaded already.

        Raises:
            FingerprintMismatchError: it is another one than the captioner's.
        """
        if clap.fingerprint != self.clap.fingerprint:
            raise FingerprintMismatchError(
                f"The captioner was made with the CLAP {self.clap.name!r} ({self.clap.fingerprint[:12]}), which is "
                f"another one now ({clap.fingerprint[:12]}).",
                "Name the CLAP it was made with, or make the captioner again.",
            )
        self._text_encoder = clap

    def keywords(self, embeddings: FloatArray) -> list[list[str]]:
        """The keywords nearest to each audio embedding [n, dim], best first."""
        return self.labels.names(embeddings, self.prompt.keywords)

    def named_labels(self, embeddings: FloatArray) -> list[tuple[LabelScore, ...]]:
        """The keywords nearest to each audio embedding [n, dim], best first, with their cosines."""
        return self.labels.nearest(embeddings, self.prompt.keywords)

    def caption(
        self, embeddings: FloatArray, contexts: Sequence[Sequence[str]], *, beams: int | None = None
    ) -> list[str]:
        """One sentence a clip, for unit audio embeddings [n, dim]; retrieved captions are not read.

        Empty where the language model had nothing to say: the released code returns its prompt then.

        Raises:
            OptionError: the embeddings have another shape, or beams were asked for.
        """
        if embeddings.shape != (len(contexts), self.clap.dim):
            raise OptionError(
                f"The embeddings have shape {embeddings.shape}, expected {(len(contexts), self.clap.dim)}.",
                f"Embed with the CLAP {self.clap.name!r}.",
            )
        if beams is not None:
            raise OptionError("Guided search has no beams.", "Leave the number of beams out.")
        keywords = self.keywords(embeddings)
        if self.decode.beta > 0:
            return self._write(keywords, embeddings)
        named = [tuple(words) for words in keywords]
        new = [words for words in dict.fromkeys(named) if words not in self._known]
        # No sound decides anything now; any embedding will do.
        captions = self._write(new, np.zeros((len(new), self.clap.dim), np.float32))
        self._known.update(zip(new, captions, strict=True))
        return [self._known[words] for words in named]

    def candidates(
        self, embeddings: FloatArray, contexts: Sequence[Sequence[str]], count: int
    ) -> list[tuple[str, ...]]:
        """Guided search goes one way only.

        Raises:
            OptionError: always.
        """
        raise OptionError(
            "Guided search finds one caption a clip, so there are no candidates to choose among.",
            "Leave candidates and re-ranking out, or name a captioner that searches with beams.",
        )

    def _write(self, keywords: Sequence[Sequence[str]], embeddings: FloatArray) -> list[str]:
        prompts = compose_keyword_prompts(keywords, self.prompt, self.language_model.tokenizer)
        return [self.prompt.caption_of(text) for text in self.search.decode_texts(prompts, embeddings)]

    def _embed_text(self, texts: Sequence[str]) -> FloatArray:
        if self._text_encoder is None:
            self.read_text_with(load_clap(self.clap.name, device=self._device))
        assert self._text_encoder is not None
        return self._text_encoder.embed_text(texts)

    def _check_room(self) -> None:
        """The longest keywords must leave room for a word: fails here, not at the first such clip."""
        prompts = compose_keyword_prompts(
            [[label] for label in self.labels.labels], self.prompt, self.language_model.tokenizer
        )
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]), reverse=True)
        longest = [self.labels.labels[i] for i in order[: self.prompt.keywords]]
        [prompt] = compose_keyword_prompts([longest], self.prompt, self.language_model.tokenizer)
        if len(prompt) > self.room:
            raise OptionError(
                f"With its longest keywords the prompt takes {len(prompt)} tokens, and prompt and caption together may "
                f"have {self.search.max_tokens}.",
                "Allow for more tokens, or name fewer keywords.",
            )
