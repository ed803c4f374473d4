"""Soft and hard prompts: decode a CLAP embedding with a language model that also reads names (arXiv 2406.06295).

The labels of a bank that lie nearest to the audio embedding are named in a sentence, the *hard prompt*; the embedding
itself is mapped to vectors behind it, the *soft prompt*; beam search continues both. Neither captions are retrieved nor
is the embedding projected, unless one asks for a projection: then names and vectors are those of the projected one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sonogloss.decoding.language_model import LanguageModel
from sonogloss.decoding.settings import DecodeSettings
from sonogloss.errors import ModelFormatError
from sonogloss.methods.base import ClapReference, ProjectionSettings
from sonogloss.methods.generator import Continuation, open_language_model
from sonogloss.methods.labels import LabelBank, load_bank
from sonogloss.methods.manifest import MAPPER, Manifest
from sonogloss.methods.mapper import AnyMapper, load_mapper
from sonogloss.methods.soft_hard.prompt import SoftHardPrompt, compose_soft_hard_prompts
from sonogloss.records import FloatArray, LabelScore


class SoftHardCaptioner:
    """A captioner of soft and hard prompts in memory; see :class:`~sonogloss.methods.base.Captioner`.

    Args:
        language_model: the language model, its adapter merged.
        mapper: from the CLAP's embeddings to the language model's input vectors; None for a prompt without soft part.
        prompt: the layout it learnt.
        labels: what its hard prompts name; None where they name nothing.
        clap: the CLAP it learnt with.
        projection: how embeddings are projected before it captions; None leaves them as they are.
        decode: how it searches.
        fingerprint: sha256 of all that decides a caption.

    Raises:
        ModelFormatError: CLAP, labels, mapper, prompt and language model do not fit together.
        OptionError: the language model's positions leave no room for a prompt.
    """

    method = "soft-hard"
    contexts = 0

    def __init__(
        self,
        *,
        language_model: LanguageModel,
        mapper: AnyMapper | None,
        prompt: SoftHardPrompt,
        labels: LabelBank | None,
        clap: ClapReference,
        projection: ProjectionSettings | None,
        decode: DecodeSettings,
        fingerprint: str,
    ) -> None:
        self._continuation = Continuation(
            language_model=language_model, mapper=mapper, slots=prompt.audio_slots, clap=clap, decode=decode
        )
        _check_labels(labels, prompt, clap)
        self.clap, self.projection, self.fingerprint = clap, projection, fingerprint
        self.prompt, self.labels, self.decode = prompt, labels, decode
        self.room, self.beams = self._continuation.room, self._continuation.beams
        self.names_labels = prompt.hard and prompt.labels > 0
        compose_soft_hard_prompts([[]], prompt, language_model.tokenizer, max_tokens=self.room)

    @classmethod
    def open(
        cls, directory: Path, manifest: Manifest, *, device: str = "cpu", dtype: str | None = None
    ) -> SoftHardCaptioner:
        """Load the parts that a manifest names from its directory."""
        prompt = manifest.prompt
        if not isinstance(prompt, SoftHardPrompt) or not isinstance(manifest.decode, DecodeSettings):
            raise ModelFormatError("The captioner's prompt is not a soft and hard one.", "Restore its captioner.json.")
        return cls(
            language_model=open_language_model(directory, manifest.language_model, device=device, dtype=dtype),
            mapper=load_mapper(str(directory / MAPPER), slots=prompt.audio_slots) if prompt.soft else None,
            prompt=prompt,
            labels=None if manifest.labels is None else load_bank(str(directory / manifest.labels)),
            clap=manifest.clap,
            projection=manifest.projection,
            decode=manifest.decode,
            fingerprint=manifest.fingerprint,
        )

    def names(self, embeddings: FloatArray) -> list[list[str]]:
        """The labels that the hard prompt of each embedding [n, dim] names, best first."""
        if self.labels is None or not self.prompt.hard:
            return [[] for _ in embeddings]
        return self.labels.names(embeddings, self.prompt.labels)

    def named_labels(self, embeddings: FloatArray) -> list[tuple[LabelScore, ...]]:
        """The labels that the hard prompt of each embedding [n, dim] names, best first, with their cosines."""
        if self.labels is None or not self.names_labels:
            return [() for _ in embeddings]
        return self.labels.nearest(embeddings, self.prompt.labels)

    def caption(
        self, embeddings: FloatArray, contexts: Sequence[Sequence[str]], *, beams: int | None = None
    ) -> list[str]:
        """One sentence a clip, for embeddings [n, dim]; retrieved captions are not read.

        Raises:
            OptionError: the embeddings have another shape.
        """
        return self._continuation.write(self._prompts(embeddings, contexts), embeddings, beams)

    def candidates(
        self, embeddings: FloatArray, contexts: Sequence[Sequence[str]], count: int
    ) -> list[tuple[str, ...]]:
        """The best `count` sentences of one search for each clip, likeliest first.

        Raises:
            OptionError: the embeddings have another shape, or the language model has no room for as many beams.
        """
        return self._continuation.candidates(self._prompts(embeddings, contexts), embeddings, count)

    def _prompts(self, embeddings: FloatArray, contexts: Sequence[Sequence[str]]) -> list[list[int]]:
        self._continuation.check(embeddings, len(contexts))
        names, tokenizer = self.names(embeddings), self._continuation.tokenizer
        return compose_soft_hard_prompts(names, self.prompt, tokenizer, max_tokens=self.room)


def _check_labels(labels: LabelBank | None, prompt: SoftHardPrompt, clap: ClapReference) -> None:
    wanted = prompt.labels if prompt.hard else 0
    if labels is None and not wanted:
        return
    if labels is None or wanted > len(labels.labels):
        there = "no labels are" if labels is None else f"{len(labels.labels)} labels are"
        raise ModelFormatError(f"The hard prompt names {wanted} labels, but {there} there.", _REMEDY)
    if (labels.clap, labels.dim) != (clap.fingerprint, clap.dim):
        raise ModelFormatError(
            f"The labels were embedded with another CLAP ({labels.clap[:12]}) than the captioner's "
            f"({clap.fingerprint[:12]}).",
            _REMEDY,
        )


_REMEDY = "Restore the captioner directory, or save it again with a bank of labels that fits."
