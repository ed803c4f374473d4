"""Human captions: AudioCaps and Clotho as text dumps, and how much of them the pocket CLAP's text tower understands.

That tower has met the words of fifty synthetic sounds and no others. What a decoder makes of its embeddings therefore
shows that the recipe learns human language from embeddings, not how well this CLAP hears.
"""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sonogloss.clap import Clap
from sonogloss.soundscapes import caption_dump

HELD_OUT_CLIPS = 300  # Clotho's development clips that validate, as its validation split tests


@dataclass(frozen=True, kw_only=True)
class HumanCaptions:
    """A corpus: captions to learn from, captions that choose the weights, and clips with five captions each to test."""

    name: str
    train: list[str]
    validation: list[str]
    test: list[list[str]]

    def write(self, directory: Path) -> tuple[Path, Path]:
        """The texts to learn from and to validate on as dumps, one caption a line."""
        paths = directory / f"{self.name}-train.txt", directory / f"{self.name}-validation.txt"
        for path, texts in zip(paths, (self.train, self.validation), strict=True):
            path.write_text("\n".join(" ".join(text.split()) for text in texts) + "\n", encoding="utf-8")
        return paths


def read_corpora(folder: Path) -> dict[str, HumanCaptions]:
    """Both corpora from a folder with `audiocaps_train.jsonl.gz` and so on."""
    clotho = [row["captions"] for row in _rows(folder / "clotho_train.jsonl.gz")]
    return {
        "audiocaps": HumanCaptions(
            name="audiocaps",
            train=[row["caption"] for row in _rows(folder / "audiocaps_train.jsonl.gz")],
            validation=[text for row in _rows(folder / "audiocaps_val.jsonl.gz") for text in row["captions"]],
            test=[row["captions"] for row in _rows(folder / "audiocaps_test.jsonl.gz")],
        ),
        "clotho": HumanCaptions(
            name="clotho",
            train=[text for captions in clotho[HELD_OUT_CLIPS:] for text in captions],
            validation=[text for captions in clotho[:HELD_OUT_CLIPS] for text in captions],
            test=[row["captions"] for row in _rows(folder / "clotho_val.jsonl.gz")],
        ),
    }


def text_tower_facts(corpus: HumanCaptions, clap: Clap) -> dict[str, float]:
    """How well the CLAP tells this corpus's captions apart."""
    grammar = {word for text in caption_dump(20_000, 1) for word in re.findall(r"[a-z]+", text)}
    words = [word for text in corpus.train for word in re.findall(r"[a-z]+", text.lower())]
    first, second = (clap.embed_text([captions[i] for captions in corpus.test]) for i in (0, 1))
    others = first @ first.T
    np.fill_diagonal(others, -1)
    similarity = first @ second.T
    rank = (similarity > np.diagonal(similarity)[:, None]).sum(axis=1)
    return {
        "captions to learn from": len(corpus.train),
        "words a caption": len(words) / len(corpus.train),
        "words that the CLAP's grammar has": float(np.mean([word in grammar for word in words])),
        "captions of another clip with cosine > 0.99": float((others.max(axis=1) > 0.99).mean()),
        "... > 0.95": float((others.max(axis=1) > 0.95).mean()),
        "cosine of two captions of one clip": float(np.diagonal(similarity).mean()),
        "cosine of captions of two clips (median)": float(np.median(similarity)),
        "R@1 of the second caption by the first": float((rank < 1).mean()),
        "R@10": float((rank < 10).mean()),
    }


def _rows(path: Path) -> list[dict[str, object]]:
    with gzip.open(path, "rt", encoding="utf-8") as handle:
        return [json.loads(line) for line in handle]
