"""DRCap: decode a CLAP embedding with a language model that also reads retrieved captions (arXiv 2410.09472).

Captions are looked up near the *raw* audio embedding; that embedding is then projected onto the text support and mapped
to a soft prompt, which beam search continues behind the retrieved captions and an instruction.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sonogloss.decoding.language_model import LanguageModel
from sonogloss.decoding.settings import DecodeSettings
from sonogloss.errors import ModelFormatError
from sonogloss.methods.base import ClapReference, ProjectionSettings, Retriever
from sonogloss.methods.drcap.prompt import ComposedPrompt, compose_prompts
from sonogloss.methods.generator import Continuation, open_language_model
from sonogloss.methods.manifest import MAPPER, Manifest
from sonogloss.methods.mapper import AnyMapper, load_mapper
from sonogloss.records import Context, FloatArray, LabelScore


class DrcapCaptioner:
    """A DRCap captioner in memory; see :class:`~sonogloss.methods.base.Captioner`.

    Args:
        language_model: the language model, its adapter merged.
        mapper: from the CLAP's embeddings to the language model's input vectors.
        prompt: the layout it learnt.
        clap: the CLAP it learnt with.
        contexts: how many retrieved captions it learnt to read.
        projection: how embeddings are projected before it captions; None leaves them as they are.
        decode: how it searches.
        fingerprint: sha256 of all that decides a caption.

    Raises:
        ModelFormatError: CLAP, mapper, prompt and language model do not fit together.
        OptionError: the language model's positions leave no room for a prompt.
    """

    method = "drcap"
    names_labels = False

    def __init__(
        self,
        *,
        language_model: LanguageModel,
        mapper: AnyMapper,
        prompt: ComposedPrompt,
        clap: ClapReference,
        contexts: int,
        projection: ProjectionSettings | None,
        decode: DecodeSettings,
        fingerprint: str,
    ) -> None:
        self._continuation = Continuation(
            language_model=language_model, mapper=mapper, slots=prompt.audio_slots, clap=clap, decode=decode
        )
        self.clap, self.contexts, self.projection, self.fingerprint = clap, contexts, projection, fingerprint
        self.prompt, self.decode = prompt, decode
        self.room, self.beams = self._continuation.room, self._continuation.beams
        compose_prompts([[]], prompt, language_model.tokenizer, max_tokens=self.room)  # fails here, not at a clip

    @classmethod
    def open(
        cls, directory: Path, manifest: Manifest, *, device: str = "cpu", dtype: str | None = None
    ) -> DrcapCaptioner:
        """Load the parts that a manifest names from its directory."""
        if not isinstance(manifest.prompt, ComposedPrompt) or not isinstance(manifest.decode, DecodeSettings):
            raise ModelFormatError("The captioner's prompt is not one of DRCap.", "Restore its captioner.json.")
        return cls(
            language_model=open_language_model(directory, manifest.language_model, device=device, dtype=dtype),
            mapper=load_mapper(str(directory / MAPPER), slots=manifest.prompt.audio_slots),
            prompt=manifest.prompt,
            clap=manifest.clap,
            contexts=manifest.contexts,
            projection=manifest.projection,
            decode=manifest.decode,
            fingerprint=manifest.fingerprint,
        )

    def named_labels(self, embeddings: FloatArray) -> list[tuple[LabelScore, ...]]:
        """None: its prompts name captions."""
        return [() for _ in embeddings]

    def caption(
        self, embeddings: FloatArray, contexts: Sequence[Sequence[str]], *, beams: int | None = None
    ) -> list[str]:
        """One sentence a clip, for projected embeddings [n, dim] and the retrieved captions of each, best first.

        When the language model has no room for all captions of a clip, the last ones are left out.

        Raises:
            OptionError: the embeddings have another shape.
        """
        return self._continuation.write(self._prompts(embeddings, contexts), embeddings, beams)

    def candidates(
        self, embeddings: FloatArray, contexts: Sequence[Sequence[str]], count: int
    ) -> list[tuple[str, ...]]:
        """The best `count` sentences of one search for each clip, likeliest first; the rest is as in :meth:`caption`.

        Raises:
            OptionError: the embeddings have another shape, or the language model has no room for as many beams.
        """
        return self._continuation.candidates(self._prompts(embeddings, contexts), embeddings, count)

    def _prompts(self, embeddings: FloatArray, contexts: Sequence[Sequence[str]]) -> list[list[int]]:
        self._continuation.check(embeddings, len(contexts))
        return compose_prompts(contexts, self.prompt, self._continuation.tokenizer, max_tokens=self.room)

    def caption_audio(self, embeddings: FloatArray, retriever: Retriever) -> tuple[list[str], list[list[Context]]]:
        """Captions of raw, unit audio embeddings [n, dim], and the contexts they were written from."""
        found = retriever.search(embeddings, self.contexts) if self.contexts else [[] for _ in embeddings]
        projected = embeddings
        if self.projection is not None:
            projected = retriever.project(
                embeddings, temperature=self.projection.tau, renormalise=self.projection.renormalise
            )
        return self.caption(projected, [[context.text for context in row] for row in found]), found
