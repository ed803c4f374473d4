"""What captioners with a soft prompt share: a language model that continues prompts with mapped embeddings in them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import torch

from sonogloss.clap import Clap
from sonogloss.decoding.generate import left_padded, search
from sonogloss.decoding.language_model import LanguageModel
from sonogloss.decoding.settings import DecodeSettings
from sonogloss.errors import ModelFormatError, OptionError
from sonogloss.methods.base import Captioner
from sonogloss.methods.half_captions import HalfCaptions
from sonogloss.methods.magic import MagicBeam
from sonogloss.methods.mapper import AnyMapper
from sonogloss.records import FloatArray


class SoftPromptGenerator:
    """A language model and the mapper that fills the audio slots of its prompts.

    Args:
        language_model: the language model, its adapter merged.
        mapper: from the CLAP's embeddings to the language model's input vectors; None for prompts without slots.
        slots: how many soft vectors a prompt has.
        dim: width of the embeddings.
        decode: how it searches.

    Raises:
        ModelFormatError: the parts do not fit together.
    """

    def __init__(
        self, *, language_model: LanguageModel, mapper: AnyMapper | None, slots: int, dim: int, decode: DecodeSettings
    ) -> None:
        if mapper is None and slots:
            raise ModelFormatError(f"The prompt has {slots} audio slots and there is no mapper.", _REMEDY)
        if mapper is not None and (mapper.dim, mapper.slots, mapper.width) != (dim, slots, language_model.width):
            raise ModelFormatError(
                f"The mapper turns {mapper.dim} dimensions into {mapper.slots} x {mapper.width}, but CLAP, prompt and "
                f"language model ask for {dim} into {slots} x {language_model.width}.",
                _REMEDY,
            )
        self._language_model, self._decode = language_model, decode
        self._mapper = None if mapper is None else mapper.to(language_model.model.device).eval()

    @torch.inference_mode()
    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        embeddings: FloatArray,
        *,
        beams: int,
        count: int = 1,
        magic: MagicBeam | None = None,
    ) -> list[list[str]]:
        """The best continuations of every prompt, likeliest first, on one line each.

        Args:
            prompts: n lists of ids, with :data:`~sonogloss.decoding.sequences.AUDIO_SLOT` where soft vectors go.
            embeddings: [n, dim].
            beams: how many to search with.
            count: how many continuations, at most as many as there are beams.
            magic: search with this instead.

        Raises:
            OptionError: the language model is too small for as many beams.
        """
        limit = self._language_model.vocabulary // 2
        if beams > limit:  # checked without prompts too, so that a job can ask before it begins
            raise OptionError(
                f"{beams} beams are more than this language model can search with: half of its tokens, {limit}.",
                f"Ask for {limit} at most.",
            )
        if not prompts:
            return []
        soft = None
        if self._mapper is not None:
            device = self._language_model.model.device
            # Row by row: a product of matrices rounds differently with the number of its rows.
            soft = torch.cat([self._mapper(torch.tensor(row, device=device)[None]) for row in embeddings])
        if magic is None:
            decode = replace(self._decode, num_beams=beams)
            searched = search(self._language_model, prompts, soft, decode, candidates=count)
            found = [[candidate.ids for candidate in candidates] for candidates in searched]
        else:
            found = []
            for number, prompt in enumerate(prompts):
                mapped = None if soft is None else soft[number : number + 1]
                vectors, _ = left_padded(self._language_model, [prompt], mapped)
                found.append(magic.search(vectors, embeddings[number], beams=beams)[:count])
        new = [ids for candidates in found for ids in candidates]
        texts = self._language_model.tokenizer.batch_decode(
            new, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        lines = iter([" ".join(text.split()) for text in texts])
        return [list(islice(lines, len(candidates))) for candidates in found]


class SoftPromptCaptioner(HalfCaptions, Captioner):
    """A captioner that continues a prompt with a soft part by beam search; a method composes the prompt.

    Args:
        **parts: as for :class:`~sonogloss.methods.base.Captioner`.

    Raises:
        ModelFormatError: CLAP, labels, mapper, prompt and language model do not fit together.
        OptionError: even a prompt without contexts and labels exceeds the language model's positions.
    """

    decode: DecodeSettings

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self._generator = SoftPromptGenerator(
            language_model=self.language_model,
            mapper=self.mapper,
            slots=self.prompt.audio_slots,
            dim=self.clap.dim,
            decode=self.decode,
        )
        positions = self.language_model.max_positions
        self.max_prompt_tokens = None if positions is None else positions - self.decode.max_new_tokens
        self.beams = self.decode.num_beams
        self._magic: MagicBeam | None = None
        self.compose([[]], [[]])  # fails here, not at a clip

    @abstractmethod
    def compose(self, names: Sequence[Sequence[str]], contexts: Sequence[Sequence[str]]) -> list[list[int]]:
        """The prompts to continue, as ids, from the labels and the retrieved captions of each clip.

        Where a prompt is longer than `max_prompt_tokens`, the last labels or captions are left out.
        """

    def read_text_with(self, clap: Clap) -> None:
        """Embed half-finished captions with a CLAP that is loaded already; only the magic beam embeds any.

        Raises:
            FingerprintMismatchError: it is another one than the captioner's.
        """
        if self.decode.magic:
            super().read_text_with(clap)

    def caption(
        self, embeddings: FloatArray, contexts: Sequence[Sequence[str]], *, beams: int | None = None
    ) -> list[str]:
        """One sentence a clip; see :meth:`~sonogloss.methods.base.Captioner.caption`."""
        found = self._write(embeddings, contexts, self.decode.num_beams if beams is None else beams)
        return [texts[0] for texts in found]

    def candidates(
        self, embeddings: FloatArray, contexts: Sequence[Sequence[str]], count: int
    ) -> list[tuple[str, ...]]:
        """The best sentences of one search; see :meth:`~sonogloss.methods.base.Captioner.candidates`."""
        found = self._write(embeddings, contexts, max(count, self.decode.num_beams), count)
        return [tuple(dict.fromkeys(texts)) for texts in found]

    def _write(
        self, embeddings: FloatArray, contexts: Sequence[Sequence[str]], beams: int, count: int = 1
    ) -> list[list[str]]:
        self.check_embeddings(embeddings, len(contexts))
        prompts = self.compose(self.names(embeddings), contexts)
        if prompts and self.decode.magic and self._magic is None:
            clap = self.text_encoder
            self._magic = MagicBeam(
                self.language_model, clap.embed_text, temperature=clap.temperature, settings=self.decode
            )
        return self._generator.generate(prompts, embeddings, beams=beams, count=count, magic=self._magic)


_REMEDY = "Restore the captioner directory; its parts were trained together."
