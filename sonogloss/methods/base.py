"""What every captioner is, what it asks of a store of captions, and the settings they share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from sonogloss.errors import OptionError
from sonogloss.records import Context, FloatArray, LabelScore


@dataclass(frozen=True, kw_only=True)
class ClapReference:
    """The CLAP that a captioner learnt with: its name then, its fingerprint and its width."""

    name: str
    fingerprint: str
    dim: int


@dataclass(frozen=True, kw_only=True)
class ProjectionSettings:
    """How an audio embedding is carried onto the text support.

    Args:
        temperature: tau of the softmax over the support, at least 0; 0 means the nearest caption and `clap` the
            temperature that the CLAP learnt, which is what the released DRCap takes.
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


class Retriever(Protocol):
    """A store of captions that can be asked."""

    def search(self, queries: FloatArray, k: int) -> list[list[Context]]:
        """The k nearest captions of every query [n, dim], best first, ties by ascending id."""
        ...

    def project(self, queries: FloatArray, *, temperature: float, renormalise: bool) -> FloatArray:
        """The queries [n, dim] carried onto the store's text support."""
        ...


class Captioner(Protocol):
    """A method with its trained parts."""

    @property
    def method(self) -> str:
        """The method's name, such as `drcap`."""
        ...

    @property
    def fingerprint(self) -> str:
        """The sha256 of everything that decides what it says: weights, prompt, settings."""
        ...

    @property
    def clap(self) -> ClapReference:
        """The CLAP whose embeddings it takes."""
        ...

    @property
    def contexts(self) -> int:
        """How many retrieved captions it learnt to read; 0 for one that reads none."""
        ...

    @property
    def projection(self) -> ProjectionSettings | None:
        """How its embeddings are to be projected; None for one that takes them as they are."""
        ...

    @property
    def room(self) -> int | None:
        """The longest prompt in tokens, where the language model has such a limit."""
        ...

    @property
    def beams(self) -> int | None:
        """How many beams it searches with; None for one whose search has none."""
        ...

    @property
    def names_labels(self) -> bool:
        """Do its prompts name labels that lie near to the sound?"""
        ...

    def named_labels(self, embeddings: FloatArray) -> list[tuple[LabelScore, ...]]:
        """What the prompts for these embeddings [n, dim] name, best first, with the cosines that chose it.

        The last ones of a clip may be left out of a prompt that the language model has no room for.
        """
        ...

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
        """
        ...

    def candidates(
        self, embeddings: FloatArray, contexts: Sequence[Sequence[str]], count: int
    ) -> list[tuple[str, ...]]:
        """The best sentences of one search for each clip, for another judge to choose among.

        The search has at least `count` beams; where its own number is as large, the first sentence of a clip is what
        :meth:`caption` says of it.

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
        ...
