"""Scenes to judge by: sounds that no training met, what is in them, and what one would say of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sonogloss.clap import Clap
from sonogloss.records import FloatArray
from sonogloss.soundscapes import CLASSES, RATE, references, render_scene, sample_scene
from sonogloss.soundscapes.captions import Style, caption

REFERENCES = 6


@dataclass(frozen=True, kw_only=True)
class HeldOutScenes:
    """Sounds at 32 kHz (at most ten seconds, 16 bits as in a WAV file), six captions and the class names of each."""

    sounds: list[np.ndarray]
    captions: list[list[str]]
    names: list[list[str]]

    @classmethod
    def make(
        cls, path: Path, count: int, seed: int, classes: tuple[str, ...] = tuple(CLASSES), style: Style = caption
    ) -> HeldOutScenes:
        """Render the scenes of `count` seeds from `seed` up, or read them from `path` where they were kept."""
        if not path.exists():
            sounds, words = [], []
            for number in range(count):
                scene = sample_scene(seed + number, classes)
                sounds.append(np.round(render_scene(scene)[: 10 * RATE] * 32767).astype(np.int16))
                words.append({"captions": references(scene, REFERENCES, style=style), "names": scene.names})
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, samples=np.concatenate(sounds), lengths=[len(s) for s in sounds], words=json.dumps(words))
        with np.load(path, allow_pickle=False) as kept:
            sounds = np.split(kept["samples"], np.cumsum(kept["lengths"])[:-1])
            words = json.loads(str(kept["words"]))
        return cls(sounds=sounds, captions=[w["captions"] for w in words], names=[list(w["names"]) for w in words])

    def embed(self, clap: Clap) -> FloatArray:
        """CLAP embeddings `[n, d]` of the sounds."""
        return np.concatenate([clap.embed_audio(batch) for batch in self._batches()])

    def _batches(self, size: int = 32) -> Iterator[list[FloatArray]]:
        for start in range(0, len(self.sounds), size):
            yield [sound.astype(np.float32) / np.float32(32767) for sound in self.sounds[start : start + size]]
