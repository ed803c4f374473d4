"""Two synthetic domains that share nothing: other sound classes, told in another style.

Domain A holds every second class of the vocabulary and speaks in sentences (`a dog barks while rain falls in the
background`), domain B the classes between them, listed as catalogues do (`recording of dog barking; rain falling
underneath`). Each has held-out scenes with five references, a datastore of captions, and captions to learn from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.catalogue_style import catalogue_caption
from benchmarks.pocket_scenes import Scores, own_captions, score
from recipes.pocket.calibrate import nearest
from recipes.pocket.held_out import HeldOutScenes
from sonogloss.bridge import project
from sonogloss.clap import Clap
from sonogloss.records import FloatArray
from sonogloss.soundscapes import CLASSES, caption_dump
from sonogloss.soundscapes.captions import Style, caption

LABELS = tuple(sound.label for sound in CLASSES.values())
"""Names of all sounds of both domains: what the hard prompts may name, whatever the domain."""


@dataclass(frozen=True, kw_only=True)
class Domain:
    """Some classes and a style. `seed` begins its test scenes; captions are drawn from seeds derived from it."""

    name: str
    classes: tuple[str, ...]
    style: Style
    seed: int

    def captions(self, count: int, draw: int) -> list[str]:
        """Up to `count` captions, each once; another `draw` gives others (0 is the datastore)."""
        return list(dict.fromkeys(caption_dump(count, self.seed + draw, self.classes, self.style)))

    def scenes(self, directory: Path, count: int) -> HeldOutScenes:
        """The test scenes, rendered once."""
        path = directory / f"scenes-{self.name}-{count}.npz"
        return HeldOutScenes.make(path, count, self.seed, self.classes, self.style)


DOMAINS = {
    "A": Domain(name="A", classes=tuple(CLASSES)[0::2], style=caption, seed=3_000_000),
    "B": Domain(name="B", classes=tuple(CLASSES)[1::2], style=catalogue_caption, seed=3_100_000),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Store:
    """Captions of a domain with their embeddings [m, d]: datastore and support at once."""

    texts: list[str]
    embeddings: FloatArray

    @classmethod
    def make(cls, domain: Domain, clap: Clap, count: int) -> Store:
        """The domain's datastore."""
        texts = domain.captions(count, 0)
        return cls(texts=texts, embeddings=clap.embed_text(texts))

    def contexts(self, audio: FloatArray, k: int = 3) -> list[list[str]]:
        """The k captions nearest to each sound, best first."""
        return nearest(audio, self.texts, self.embeddings, k)

    def project(self, audio: FloatArray, temperature: float) -> FloatArray:
        """The sounds carried onto these captions, unit again."""
        return project(audio, self.embeddings, temperature=temperature, renormalise=True)


@dataclass(frozen=True, kw_only=True, eq=False)
class Test:
    """A domain's test scenes as a captioner meets them."""

    domain: Domain
    scenes: HeldOutScenes
    audio: FloatArray
    own: FloatArray

    @classmethod
    def make(cls, domain: Domain, clap: Clap, directory: Path, count: int) -> Test:
        """Render or read the scenes, and embed their sound and one true caption of each."""
        scenes = domain.scenes(directory, count)
        return cls(domain=domain, scenes=scenes, audio=scenes.embed(clap), own=clap.embed_text(own_captions(scenes)))

    def score(self, captions: Sequence[str], clap: Clap) -> dict[str, Scores]:
        """CIDEr-D, event F1 and CLAP similarity of every scene, and the micro-averaged event F1."""
        similarity = (clap.embed_text([text or " " for text in captions]) * self.audio).sum(axis=1)  # unit rows
        return score(self.scenes, captions) | {"clap_sim": similarity.astype(np.float64)}

    def facts(self, store: Store) -> dict[str, float]:
        """How well the CLAP knows this domain, and how far copying the best caption of its datastore goes."""
        similarity = self.audio @ self.own.T
        rank = (similarity > np.diagonal(similarity)[:, None]).sum(axis=1)
        copied = score(self.scenes, [row[0] for row in store.contexts(self.audio, 1)])
        known = set(store.texts)
        return {
            "r@1": float((rank < 1).mean()),
            "r@10": float((rank < 10).mean()),
            "matched cosine": float(np.diagonal(similarity).mean()),
            "copy the best context: CIDEr-D": float(copied["cider_d"].mean()),
            "copy the best context: event F1": float(copied["micro_f1"]),
            "references found word for word in the datastore": float(
                np.mean([text in known for row in self.scenes.captions for text in row[1:]])
            ),
        }
