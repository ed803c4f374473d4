"""What every captioner is, what it asks of a store of captions, and the settings that all methods share."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from sonogloss.errors import ModelFormatError, OptionError
from sonogloss.records import Context, FloatArray, LabelScore

if TYPE_CHECKING:
    from sonogloss.clap import Clap
    from sonogloss.decoding.language_model import LanguageModel
    from sonogloss.methods.labels import LabelBank
    from sonogloss.methods.mapper import AnyMapper


@dataclass(frozen=True, kw_only=True)
class CaptionerSpec:
    """Which captioner, where it runs and how it decodes.

    Args:
        name: `pocket`, `pocket:soft-hard` or `pocket:zeraucap` (shipped with this package), or a captioner directory,
            local or any fsspec URL.
        device: where it runs, as torch names it (`cpu`, `cuda`).
        precision: of the language model's weights: `float32`, `bfloat16`, `float16` or `int8`; None means float32 on a
            CPU and for a language model in the captioner's own directory, else what its files hold.
        parity: contexts, projection and search as in the method's released code instead of the captioner's own.
        beams: how many beams to decode with; None means the captioner's own number.
        language: language tag of a multilingual captioner; None means the captioner's own.
        fast: leave the CLAP out of a guided search: captions from keywords alone.
        no_repeat_ngram: so many tokens in a row occur once in a caption, 0 for no such rule; None means the captioner's
            own.
        magic: let the CLAP weigh the candidates of beam search, with the released settings of soft-hard's magic beam.
    """

    name: str
    device: str = "cpu"
    precision: str | None = None
    parity: bool = False
    beams: int | None = None
    language: str | None = None
    fast: bool = False
    no_repeat_ngram: int | None = None
    magic: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", os.fspath(self.name))


@dataclass(frozen=True, kw_only=True)
class ClapIdentity:
    """The CLAP that a captioner was made with: its name then, its fingerprint and the width of its embeddings."""

    name: str
    fingerprint: str
    dim: int


@dataclass(frozen=True, kw_only=True)
class ProjectionSettings:
    """How an audio embedding is carried onto the text support.

    Args:
        temperature: tau of the softmax over the support, at least 0; 0 means the nearest caption and `clap` the
            temperature that the CLAP learned, which is what the released DRCap takes.
        renormalise: scale the result to unit length (DeCap, WSAC), or leave it shorter (DRCap).
    """

    temperature: float | Literal["clap"] = 0.01
    renormalise: bool = True

    def __post_init__(self) -> None:
        if self.temperature == "clap":
            return
        number = isinstance(self.temperature, int | float)
        if not (number and math.isfinite(self.temperature) and self.temperature >= 0):
            raise OptionError(
                f"The projection temperature {self.temperature!r} is not usable.",
                "Give zero, a positive number or 'clap'.",
            )

    def resolved(self, clap_temperature: float) -> ProjectionSettings:
        """The same with a number for a temperature."""
        return replace(self, temperature=clap_temperature) if self.temperature == "clap" else self

    @property
    def tau(self) -> float:
        """The temperature as a number.

        Raises:
            OptionError: it is the CLAP's own, and was not resolved.
        """
        if self.temperature == "clap":
            raise OptionError("The projection's temperature is the CLAP's own.", "Put it in with resolved().")
        return self.temperature


class Prompt(Protocol):
    """The words around a caption: a frozen dataclass, stored in `captioner.json` field by field.

    A prompt for several languages also has the fields `languages` and `language_tag`.
    """

    @property
    def audio_slots(self) -> int:
        """How many soft prompt vectors stand for the audio; 0 for a prompt of words alone."""

    @property
    def label_count(self) -> int:
        """How many labels of a bank it names; 0 for none."""


class Retriever(Protocol):
    """A store of captions that can be searched."""

    def search(self, queries: FloatArray, k: int) -> list[list[Context]]:
        """The k nearest captions of every query [n, dim], best first, ties by ascending id."""

    def project(self, queries: FloatArray, *, temperature: float, renormalise: bool) -> FloatArray:
        """The queries [n, dim] carried onto the store's text support."""


@runtime_checkable
class OnePassRetriever(Retriever, Protocol):
    """A store that does both at once, for less than both apart."""

    def search_and_project(
        self, queries: FloatArray, k: int, *, temperature: float, renormalise: bool
    ) -> tuple[list[list[Context]], FloatArray]:
        """What `search` and `project` give."""


def look_up(
    embeddings: FloatArray, retriever: Retriever, *, contexts: int, projection: ProjectionSettings | None
) -> tuple[list[list[Context]], FloatArray]:
    """What a captioner gets from a store: the captions nearest to each embedding, and the projected embeddings.

    Args:
        embeddings: [n, dim], unit rows.
        retriever: the store.
        contexts: captions an embedding; 0 for none.
        projection: how embeddings are carried onto the text support; None leaves them as they are.
    """
    if projection is None:
        found = retriever.search(embeddings, contexts) if contexts else [[] for _ in embeddings]
        return found, embeddings
    tau, renormalise = projection.tau, projection.renormalise
    if not contexts:
        return [[] for _ in embeddings], retriever.project(embeddings, temperature=tau, renormalise=renormalise)
    if isinstance(retriever, OnePassRetriever):
        return retriever.search_and_project(embeddings, contexts, temperature=tau, renormalise=renormalise)
    found = retriever.search(embeddings, contexts)
    return found, retriever.project(embeddings, temperature=tau, renormalise=renormalise)


class Captioner(ABC):
    """A method with its trained parts. A method writes :meth:`caption`; the rest has defaults.

    Args:
        language_model: the language model, its adapter merged.
        prompt: the layout that it was trained with.
        clap: the CLAP whose embeddings it takes.
        decode: how it searches.
        fingerprint: sha256 of everything that decides a caption: weights, prompt, settings.
        mapper: from embeddings to soft prompts; None for a prompt without audio slots.
        labels: what its prompts name; None where they name nothing.
        contexts: how many retrieved captions it was trained to read; 0 for one that reads none.
        projection: how embeddings are projected before it captions; None leaves them as they are.
        device: where it runs.

    Raises:
        ModelFormatError: labels, prompt and CLAP do not fit together.
    """

    method: ClassVar[str]
    """The method's name, such as `drcap`."""
    max_prompt_tokens: int | None = None
    """The longest prompt in tokens, where the language model has such a limit."""
    beams: int | None = None
    """How many beams it searches with; None for one whose search has none."""

    def __init__(
        self,
        *,
        language_model: LanguageModel,
        prompt: Any,
        clap: ClapIdentity,
        decode: Any,
        fingerprint: str,
        mapper: AnyMapper | None = None,
        labels: LabelBank | None = None,
        contexts: int = 0,
        projection: ProjectionSettings | None = None,
        device: str = "cpu",
    ) -> None:
        self.language_model, self.mapper, self.labels, self.device = language_model, mapper, labels, device
        self.prompt, self.clap, self.decode, self.fingerprint = prompt, clap, decode, fingerprint
        self.contexts, self.projection = contexts, projection
        self._check_labels()

    @abstractmethod
    def caption(
        self, embeddings: FloatArray, contexts: Sequence[Sequence[str]], *, beams: int | None = None
    ) -> list[str]:
        """One sentence a clip.

        Args:
            embeddings: [n, dim] audio embeddings, already projected.
            contexts: for each of them the retrieved captions, best first.
            beams: how many beams to search with, by default its own number.

        Returns:
            n captions on one line each; one is empty when decoding ended without a word. A caption does not depend on
            which others are asked for with it.

        Raises:
            OptionError: the embeddings have another shape, or the search has no such beams.
        """

    def candidates(
        self, embeddings: FloatArray, contexts: Sequence[Sequence[str]], count: int
    ) -> list[tuple[str, ...]]:
        """The best sentences of one search for each clip, for a reranker to choose among.

        The search has at least `count` beams; where its own number is as large, the first sentence of a clip is its
        :meth:`caption`.

        Args:
            embeddings: as in :meth:`caption`.
            contexts: as in :meth:`caption`.
            count: how many sentences, at least 1.

        Returns:
            For each clip distinct sentences, the likeliest first: `count`, or fewer where hypotheses read alike or as
            many were not found.

        Raises:
            OptionError: the search finds one sentence only, or no language model of this size can have as many beams.
        """
        raise OptionError(
            f"A {self.method} captioner finds one caption a clip, so there are no candidates to choose among.",
            "Leave candidates and re-ranking out, or name a captioner that searches with beams.",
        )

    def caption_audio(self, embeddings: FloatArray, retriever: Retriever) -> tuple[list[str], list[list[Context]]]:
        """Captions of raw, unit audio embeddings [n, dim], and the contexts they were written from."""
        found, projected = look_up(embeddings, retriever, contexts=self.contexts, projection=self.projection)
        return self.caption(projected, [[context.text for context in row] for row in found]), found

    @property
    def has_keywords(self) -> bool:
        """Do its prompts name labels?"""
        return bool(self.prompt.label_count)

    def names(self, embeddings: FloatArray) -> list[list[str]]:
        """The labels that the prompt of each embedding [n, dim] names, best first."""
        if self.labels is None:
            return [[] for _ in embeddings]
        return self.labels.names(embeddings, self.prompt.label_count)

    def keywords(self, embeddings: FloatArray) -> list[tuple[LabelScore, ...]]:
        """What :meth:`names` gives, with the cosines that chose it.

        The last ones of a clip may be left out of a prompt that would exceed the language model's positions.
        """
        if self.labels is None:
            return [() for _ in embeddings]
        return self.labels.nearest(embeddings, self.prompt.label_count)

    def read_text_with(self, clap: Clap) -> None:
        """Embed text with a CLAP that is loaded already; does nothing for a captioner that embeds none.

        Raises:
            FingerprintMismatchError: it is another one than the captioner's.
        """
        return None

    def check_embeddings(self, embeddings: FloatArray, count: int) -> None:
        """Refuse embeddings that are not [count, dim].

        Raises:
            OptionError: they are not.
        """
        if embeddings.shape != (count, self.clap.dim):
            raise OptionError(
                f"The embeddings have shape {embeddings.shape}, expected {(count, self.clap.dim)}.",
                f"Embed with the CLAP {self.clap.name!r}.",
            )

    def _check_labels(self) -> None:
        wanted, labels = self.prompt.label_count, self.labels
        found = 0 if labels is None else len(labels.labels)
        if wanted > found:
            raise ModelFormatError(
                f"The prompt names {wanted} labels, and there are {found}.",
                "Give a bank with more labels, or let the prompt name fewer.",
            )
        if labels is not None and (labels.clap, labels.dim) != (self.clap.fingerprint, self.clap.dim):
            raise ModelFormatError(
                f"The labels were embedded with another CLAP ({labels.clap[:12]}) than the captioner's "
                f"({self.clap.fingerprint[:12]}).",
                "Restore the captioner directory, or make the captioner again with labels of its CLAP.",
            )
