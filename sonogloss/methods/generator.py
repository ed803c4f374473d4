"""What captioners with a soft prompt share: open the language model, fill the slots, continue, read the words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch

from sonogloss.decoding.generate import search
from sonogloss.decoding.language_model import LanguageModel, load_language_model
from sonogloss.decoding.settings import DecodeSettings
from sonogloss.errors import ModelFormatError, OptionError
from sonogloss.methods.base import ClapReference
from sonogloss.methods.manifest import LanguageModelReference
from sonogloss.methods.mapper import AnyMapper
from sonogloss.records import FloatArray


class Continuation:
    """A language model that continues prompts with the soft vectors of embeddings in them.

    Args:
        language_model: the language model, its adapter merged.
        mapper: from the CLAP's embeddings to the language model's input vectors; None for prompts without slots.
        slots: how many soft vectors a prompt has.
        clap: whose embeddings they are.
        decode: how it searches.

    Raises:
        ModelFormatError: the parts do not fit together.
    """

    def __init__(
        self,
        *,
        language_model: LanguageModel,
        mapper: AnyMapper | None,
        slots: int,
        clap: ClapReference,
        decode: DecodeSettings,
    ) -> None:
        if mapper is None and slots:
            raise ModelFormatError(f"The prompt has {slots} audio slots and there is no mapper.", _REMEDY)
        if mapper is not None and (mapper.dim, mapper.slots, mapper.width) != (clap.dim, slots, language_model.width):
            raise ModelFormatError(
                f"The mapper turns {mapper.dim} dimensions into {mapper.slots} x {mapper.width}, but CLAP, prompt and "
                f"language model ask for {clap.dim} into {slots} x {language_model.width}.",
                _REMEDY,
            )
        self._language_model, self._clap, self._decode = language_model, clap, decode
        self._mapper = None if mapper is None else mapper.to(language_model.model.device).eval()
        self.tokenizer = language_model.tokenizer
        self.beams = decode.num_beams
        limit = language_model.max_positions
        self.room = None if limit is None else limit - decode.max_new_tokens

    def check(self, embeddings: FloatArray, count: int) -> None:
        """Refuse embeddings that are not [count, dim]."""
        if embeddings.shape != (count, self._clap.dim):
            raise OptionError(
                f"The embeddings have shape {embeddings.shape}, expected {(count, self._clap.dim)}.",
                f"Embed with the CLAP {self._clap.name!r}.",
            )

    def write(self, prompts: Sequence[Sequence[int]], embeddings: FloatArray, beams: int | None) -> list[str]:
        """What the language model says behind each prompt, on one line."""
        return [texts[0] for texts in self._search(prompts, embeddings, self.beams if beams is None else beams, 1)]

    def candidates(self, prompts: Sequence[Sequence[int]], embeddings: FloatArray, count: int) -> list[tuple[str, ...]]:
        """The best `count` of what it might say behind each prompt, likeliest first; the same words count once."""
        found = self._search(prompts, embeddings, max(count, self.beams), count)
        return [tuple(dict.fromkeys(texts)) for texts in found]

    @torch.inference_mode()
    def _search(
        self, prompts: Sequence[Sequence[int]], embeddings: FloatArray, beams: int, count: int
    ) -> list[list[str]]:
        most = self._language_model.vocabulary // 2
        if beams > most:  # told of no prompts too, so that a job can ask before it begins
            raise OptionError(
                f"{beams} beams are more than the language model has room for: half of its tokens, {most}.",
                f"Ask for {most} at most.",
            )
        if not prompts:
            return []
        soft = None
        if self._mapper is not None:
            device = self._language_model.model.device
            # Row by row: a product of matrices rounds differently with the number of its rows.
            soft = torch.cat([self._mapper(torch.tensor(row, device=device)[None]) for row in embeddings])
        decode = replace(self._decode, num_beams=beams)
        found = search(self._language_model, prompts, soft, decode, candidates=count)
        new = [candidate.ids for candidates in found for candidate in candidates]
        texts = self.tokenizer.batch_decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        lines = iter([" ".join(text.split()) for text in texts])
        return [list(islice(lines, len(candidates))) for candidates in found]


_REMEDY = "Restore the captioner directory; its parts were trained together."


def open_language_model(
    directory: Path, named: LanguageModelReference, *, device: str, dtype: str | None
) -> LanguageModel:
    """The language model that a captioner directory names."""
    ours = named.path is not None
    return load_language_model(
        str(directory / named.path) if named.path is not None else str(named.name),
        adapter=str(directory / named.adapter) if named.adapter is not None else None,
        device=device,
        # Ours may be stored as float16 to be small, not to be computed with.
        dtype=dtype or ("float32" if ours else None),
        revision=named.revision,
    )
