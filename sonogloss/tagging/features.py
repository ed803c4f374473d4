"""The losses of prompt tuning on texts: embeddings of the frozen text tower, computed once, and words that stay put."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sonogloss.bridge import add_noise
from sonogloss.clap import Clap
from sonogloss.clap.prompted_text import PromptedLabels, embed_words
from sonogloss.errors import OptionError
from sonogloss.records import FloatArray
from sonogloss.tagging.config import TuningConfig
from sonogloss.tagging.scores import coarse_scores, fine_scores, label_loss, ranking_loss
from sonogloss.tagging.tagger import plain_tagger
from sonogloss.tagging.texts import LabelledTexts


@dataclass(frozen=True, kw_only=True, eq=False)
class TextFeatures:
    """Embedded texts.

    Attributes:
        sentences: [texts, dim].
        words: for each text [words, dim].
        truth: bool [texts, labels].
    """

    sentences: FloatArray
    words: Sequence[FloatArray]
    truth: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, texts: LabelledTexts, clap: Clap) -> TextFeatures:
        """Embed texts."""
        sentences, words = embed_words(clap, texts.texts)
        return cls(sentences=sentences, words=words, truth=texts.truth)

    def loss(
        self,
        rows: Sequence[int],
        labels: tuple[Tensor, Tensor],
        config: TuningConfig,
        scale: float,
        rng: np.random.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The sum of coarse and fine loss of label embeddings on some texts.

        Args:
            rows: of the texts.
            labels: coarse and fine label embeddings, [labels, dim] each.
            config: kind of loss and amount of noise.
            scale: factor of the cosines, 1 / temperature of the CLAP.
            rng: source of the noise; None adds none.

        Returns:
            The loss, a scalar, and the sum of coarse and fine scores [rows, labels].
        """
        coarse, fine = labels
        wholes, (parts, mask) = self.sentences[rows], gather([self.words[row] for row in rows])
        if rng is not None:
            std = config.noise_std(wholes.shape[1])
            wholes, parts = _noisy(wholes, rng, std), _noisy(parts, rng, std)
        device = coarse.device
        found = (
            coarse_scores(torch.from_numpy(wholes).to(device), coarse),
            fine_scores(
                torch.from_numpy(parts).to(device),
                fine,
                torch.from_numpy(mask).to(device),
                temperature=config.temperature,
                compat=config.compat,
            ),
        )
        truth = torch.from_numpy(self.truth[rows]).to(device)
        if config.multi_label:
            losses = [ranking_loss(scores, truth) for scores in found]
        else:
            losses = [label_loss(scores, truth.int().argmax(dim=1), scale) for scores in found]
        return losses[0] + losses[1], found[0] + found[1]


def _noisy(vectors: FloatArray, rng: np.random.Generator, std: float) -> FloatArray:
    rows = vectors.reshape(-1, vectors.shape[-1])
    return add_noise(rows, rng.standard_normal(rows.shape, dtype=np.float32), std=std).reshape(vectors.shape)


def gather(words: Sequence[FloatArray]) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Words of several texts, padded [n, longest, dim], and their mask [n, longest]."""
    longest = max(len(rows) for rows in words)
    parts = np.zeros((len(words), longest, words[0].shape[1]), np.float32)
    mask = np.zeros((len(words), longest), np.bool_)
    for line, rows in enumerate(words):
        parts[line, : len(rows)] = rows
        mask[line, : len(rows)] = True
    return parts, mask


def split(texts: LabelledTexts, config: TuningConfig) -> tuple[list[int], list[int]]:
    """Rows of the training texts and of the held-out ones, stratified by the first true label.

    Raises:
        OptionError: no text is left on one of the sides.
    """
    rng = np.random.default_rng([config.seed, 2**31])
    train: list[int] = []
    held_out: list[int] = []
    first = texts.truth.argmax(axis=1)
    for label in range(len(texts.labels)):
        members = rng.permutation(np.flatnonzero(first == label)).tolist()
        kept = round(config.held_out * len(members))
        held_out += members[:kept]
        train += members[kept:]
    if not train or not held_out:
        raise OptionError(
            f"{len(texts.texts)} texts are too few to hold out a share of {config.held_out:g}.",
            "Give more texts.",
        )
    return sorted(train), sorted(held_out)


WORDS_A_STEP = 16


class KeptWords:
    """A loss that keeps words that are no labels where they are.

    Prompts learned on some labels move all other words too: behind a prompt for `rain`, `sea` comes near to rain. So in
    every step some other words of the dump are encoded behind the prompts and pulled towards their embeddings in a
    plain sentence. The released code has no such loss.

    Args:
        clap: a CLAP in the layout of transformers' ClapModel.
        words: at least one.
        slots: vectors in front of a word.
        compat: as of :class:`TuningConfig`.
    """

    def __init__(self, clap: Clap, words: Sequence[str], slots: int, *, compat: bool = False) -> None:
        self._words = PromptedLabels(clap, words, slots, compat=compat)
        self._plain = torch.from_numpy(plain_tagger(words, clap).coarse).to(self._words.device)

    def loss(self, prompts: Sequence[Tensor], rng: np.random.Generator) -> Tensor:
        """1 - cosine of prompted and plain words, averaged over some random words and summed over sets of prompts."""
        count = len(self._plain)
        rows = torch.from_numpy(rng.choice(count, min(WORDS_A_STEP, count), replace=False)).to(self._plain.device)
        moved = [1 - (self._words.encode(vectors, rows) * self._plain[rows]).sum(dim=1) for vectors in prompts]
        return torch.stack([distances.mean() for distances in moved]).sum()
