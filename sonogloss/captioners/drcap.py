"""DRCap: decode a CLAP embedding with a language model that also reads retrieved captions (arXiv 2410.09472).

Captions are looked up near the *raw* audio embedding; that embedding is then projected onto the text support and mapped
to a soft prompt, which beam search continues behind the retrieved captions and an instruction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from sonogloss.captioners.base import ClapReference, ProjectionSettings, Retriever
from sonogloss.captioners.manifest import MAPPER, Manifest
from sonogloss.decoding.generate import generate
from sonogloss.decoding.language_model import LanguageModel, load_language_model
from sonogloss.decoding.settings import DecodeSettings
from sonogloss.errors import ModelFormatError, OptionError
from sonogloss.prompts.composed import ComposedPrompt, compose_prompts
from sonogloss.prompts.soft import AnyMapper, load_mapper
from sonogloss.records import Context, FloatArray


class DrcapCaptioner:
    """A DRCap captioner in memory; see :class:`~sonogloss.captioners.base.Captioner`.

    Args:
        language_model: the language model, its adapter merged.
        mapper: from the CLAP's embeddings to the language model's input vectors.
        prompt: the layout it learnt.
        clap: the CLAP it learnt with.
        contexts: how many retrieved captions it learnt to read.
        projection: how embeddings are projected before it captions.
        decode: how it searches.
        fingerprint: sha256 of all that decides a caption.

    Raises:
        ModelFormatError: CLAP, mapper, prompt and language model do not fit together.
        OptionError: the language model's positions leave no room for a prompt.
    """

    method = "drcap"

    def __init__(
        self,
        *,
        language_model: LanguageModel,
        mapper: AnyMapper,
        prompt: ComposedPrompt,
        clap: ClapReference,
        contexts: int,
        projection: ProjectionSettings,
        decode: DecodeSettings,
        fingerprint: str,
    ) -> None:
        if (mapper.dim, mapper.slots, mapper.width) != (clap.dim, prompt.audio_slots, language_model.width):
            raise ModelFormatError(
                f"The mapper turns {mapper.dim} dimensions into {mapper.slots} x {mapper.width}, but CLAP, prompt and "
                f"language model ask for {clap.dim} into {prompt.audio_slots} x {language_model.width}.",
                "Restore the captioner directory; its parts were trained together.",
            )
        self.clap, self.contexts, self.projection, self.fingerprint = clap, contexts, projection, fingerprint
        self.prompt, self.decode = prompt, decode
        self._language_model = language_model
        self._mapper = mapper.to(language_model.model.device).eval()
        limit = language_model.max_positions
        self._room = None if limit is None else limit - decode.max_new_tokens
        compose_prompts(
            [[]], prompt, language_model.tokenizer, max_tokens=self._room
        )  # fails here, not at the first clip

    @classmethod
    def open(
        cls, directory: Path, manifest: Manifest, *, device: str = "cpu", beams: int | None = None
    ) -> DrcapCaptioner:
        """Load the parts that a manifest names from its directory."""
        named = manifest.language_model
        ours = named.path is not None
        language_model = load_language_model(
            str(directory / named.path) if named.path is not None else str(named.name),
            adapter=str(directory / named.adapter) if named.adapter is not None else None,
            device=device,
            dtype=torch.float32 if ours else None,  # ours may be stored as float16 to be small, not to be computed with
            revision=named.revision,
        )
        return cls(
            language_model=language_model,
            mapper=load_mapper(str(directory / MAPPER), slots=manifest.prompt.audio_slots),
            prompt=manifest.prompt,
            clap=manifest.clap,
            contexts=manifest.contexts,
            projection=manifest.projection,
            decode=manifest.decode if beams is None else replace(manifest.decode, num_beams=beams),
            fingerprint=manifest.fingerprint,
        )

    @torch.inference_mode()
    def caption(self, embeddings: FloatArray, contexts: Sequence[Sequence[str]]) -> list[str]:
        """One sentence a clip, for projected embeddings [n, dim] and the retrieved captions of each, best first.

        When the language model has no room for all captions of a clip, the last ones are left out.

        Raises:
            OptionError: the embeddings have another shape.
        """
        if embeddings.shape != (len(contexts), self.clap.dim):
            raise OptionError(
                f"The embeddings have shape {embeddings.shape}, expected {(len(contexts), self.clap.dim)}.",
                f"Embed with the CLAP {self.clap.name!r}.",
            )
        if not contexts:
            return []
        tokenizer = self._language_model.tokenizer
        prompts = compose_prompts(contexts, self.prompt, tokenizer, max_tokens=self._room)
        # Row by row: a product of matrices rounds differently with the number of its rows.
        soft = [self._mapper(torch.tensor(row, device=self._language_model.model.device)[None]) for row in embeddings]
        new = generate(self._language_model, prompts, torch.cat(soft), self.decode)
        texts = tokenizer.batch_decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return [" ".join(text.split()) for text in texts]

    def caption_audio(self, embeddings: FloatArray, retriever: Retriever) -> tuple[list[str], list[list[Context]]]:
        """Captions of raw, unit audio embeddings [n, dim], and the contexts they were written from."""
        found = retriever.search(embeddings, self.contexts) if self.contexts else [[] for _ in embeddings]
        projected = retriever.project(
            embeddings, temperature=self.projection.temperature, renormalise=self.projection.renormalise
        )
        return self.caption(projected, [[context.text for context in row] for row in found]), found
