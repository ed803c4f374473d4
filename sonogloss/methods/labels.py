"""The label bank: names of sounds, each with its CLAP text embedding. Which of them does a clip sound like?

Soft and hard prompts name the nearest labels to the language model (arXiv 2406.06295, section on the retrieval-based
acoustic-aware hard prompt); guided decoding takes its keywords, and tagging its classes, from the same bank.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from safetensors import SafetensorError

from sonogloss import files
from sonogloss.errors import FormatError, ModelFormatError, OptionError
from sonogloss.records import FloatArray, LabelScore
from sonogloss.soundscapes.classes import CLASSES
from sonogloss.tables import read_names

LABELS = "labels.json"
EMBEDDINGS = "labels.safetensors"
_COLUMNS = ("name", "label", "display_name", "class")
_REMEDY = "Restore the files or embed the labels again."


class TextEncoder(Protocol):
    """What the bank needs of a CLAP."""

    @property
    def fingerprint(self) -> str:
        """Of the model."""

    def embed_text(self, texts: Sequence[str]) -> FloatArray:
        """Unit rows [n, dim]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelBank:
    """Labels and where they lie.

    Attributes:
        labels: the names, as they were given.
        embeddings: [n, dim] unit rows, float32.
        clap: fingerprint of the CLAP that embedded them.
    """

    labels: tuple[str, ...]
    embeddings: FloatArray
    clap: str

    def __post_init__(self) -> None:
        if not self.labels or self.embeddings.ndim != 2 or len(self.embeddings) != len(self.labels):
            raise OptionError(
                f"{len(self.labels)} labels do not go with embeddings of shape {self.embeddings.shape}.",
                "Give one embedding a label, and at least one label.",
            )

    @property
    def dim(self) -> int:
        """Width of the embeddings."""
        return int(self.embeddings.shape[1])

    def scores(self, embeddings: FloatArray) -> FloatArray:
        """Cosines [b, n] of unit embeddings [b, dim] with every label; a row does not depend on the others."""
        # A product's last bits differ with its shape. They are rounded away here, so that equal labels score alike.
        return (embeddings.astype(np.float64) @ self.embeddings.T.astype(np.float64)).astype(np.float32)

    def top(self, embeddings: FloatArray, k: int, *, most_alike: float = 1.0) -> npt.NDArray[np.int64]:
        """Indices [b, k] of the nearest labels to unit embeddings [b, dim], best first, ties by lower index.

        Args:
            embeddings: [b, dim].
            k: how many labels.
            most_alike: a label whose cosine with one that is chosen already is larger is skipped, as long as enough are
                left.

        Raises:
            OptionError: k is negative or there are fewer labels than k.
        """
        if not 0 <= k <= len(self.labels):
            raise OptionError(f"{k} of {len(self.labels)} labels cannot be chosen.", "Ask for fewer, or name more.")
        order = np.argsort(-self.scores(embeddings), axis=1, kind="stable").astype(np.int64)
        if most_alike >= 1:
            return order[:, :k]
        return np.array([self._unlike(row, k, most_alike) for row in order], np.int64).reshape(len(order), k)

    def _unlike(self, order: npt.NDArray[np.int64], k: int, most_alike: float) -> list[int]:
        """The first `k` of an order that are not too like one another; where there are fewer, the first others."""
        chosen: list[int] = []
        for place in order:
            if len(chosen) == k:
                break
            if not chosen or (self.embeddings[chosen] @ self.embeddings[place]).max() <= most_alike:
                chosen.append(int(place))
        rest = [int(place) for place in order[: 2 * k] if place not in chosen]
        return [*chosen, *rest][:k]

    def names(self, embeddings: FloatArray, k: int, *, most_alike: float = 1.0) -> list[list[str]]:
        """The names of the `k` nearest labels to each embedding, see :meth:`top`."""
        return [[self.labels[i] for i in row] for row in self.top(embeddings, k, most_alike=most_alike)]

    def nearest(self, embeddings: FloatArray, k: int, *, most_alike: float = 1.0) -> list[tuple[LabelScore, ...]]:
        """The `k` nearest labels to each embedding [b, dim], see :meth:`top`, with cosines whatever its length."""
        lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True)
        cosines = np.clip(self.scores(embeddings) / np.maximum(lengths, 1e-30), -1.0, 1.0)
        return [
            tuple(LabelScore(label=self.labels[i], score=float(row[i])) for i in found)
            for row, found in zip(cosines, self.top(embeddings, k, most_alike=most_alike), strict=True)
        ]


def read_labels(name_or_path: str) -> tuple[str, ...]:
    """The labels that a user named; repeated ones count once, in the order given.

    Args:
        name_or_path: `pocket` (the classes of the procedural soundscapes), or a file: one label a line; a table with a
            column `name`, `label`, `display_name` or `class`; or another list of names (see
            :func:`sonogloss.tables.read_names`).

    Raises:
        MissingInputError: there is no such file.
        FormatError: it holds no labels.
    """
    if name_or_path == "pocket":
        return tuple(name.replace("_", " ") for name in CLASSES)
    found = read_names(name_or_path, option="--labels", columns=_COLUMNS)
    by_form: dict[str, str] = {}  # a label may be written in two forms of Unicode
    for name in found:
        label = " ".join(name.split())
        by_form.setdefault(unicodedata.normalize("NFC", label), label)
    labels = tuple(filter(None, by_form.values()))
    if not labels:
        raise FormatError(f"--labels {name_or_path!r} holds no labels.", "Write one label a line.")
    return labels


def embed_labels(
    labels: Sequence[str], clap: TextEncoder, *, normalise: bool = True, template: str = "{label}"
) -> LabelBank:
    """A bank of labels in a CLAP's space.

    Args:
        labels: the names.
        clap: embeds them.
        normalise: lower-case the text and take its punctuation away before embedding, as soft and hard prompts do.
        template: what is embedded; `{label}` stands for the name. Soft and hard prompts embed the bare name.
    """
    if template.count("{label}") != 1:
        raise OptionError(f"The label template {template!r} must hold {{label}} once.", "Correct it.")
    texts = [template.replace("{label}", label) for label in labels]
    embeddings = clap.embed_text([normalised(text) for text in texts] if normalise else texts)
    return LabelBank(labels=tuple(labels), embeddings=embeddings, clap=clap.fingerprint)


def normalised(text: str) -> str:
    """A text as the WavCaps CLAPs were trained on: lower-case, with blanks for punctuation.

    The released rule byte for byte: pairs of blanks are halved once after each step, so that a run may leave two.
    """
    # A mark takes the blank behind it along, so that of two marks in a row the second keeps the blank before it.
    tight = re.sub(r"\s([,.!?;:\"](?:\s|$))", r"\1", text.lower()).replace("  ", " ")
    return re.sub(r"[(),.!?;:|*\"]", " ", tight).replace("  ", " ")


def save_bank(bank: LabelBank, directory: str) -> None:
    """Write a bank as `labels.json` and `labels.safetensors`."""
    weights = {"embeddings": np.ascontiguousarray(bank.embeddings, dtype=np.float32)}
    files.write_bytes(files.join(directory, EMBEDDINGS), safetensors.numpy.save(weights))
    files.write_json(files.join(directory, LABELS), {"clap": bank.clap, "labels": list(bank.labels)})


def load_bank(directory: str) -> LabelBank:
    """Read a bank.

    Raises:
        ModelFormatError: a file is missing or is not what it should be.
    """
    try:
        content = files.read_json(files.join(directory, LABELS), error=ModelFormatError)
        embeddings = safetensors.numpy.load(files.read_bytes(files.join(directory, EMBEDDINGS)))["embeddings"]
        return LabelBank(labels=tuple(content["labels"]), embeddings=embeddings, clap=str(content["clap"]))
    except (FileNotFoundError, KeyError, TypeError, SafetensorError, OptionError) as problem:
        raise ModelFormatError(f"{directory!r} does not hold a bank of labels ({problem}).", _REMEDY) from problem
