"""What training is watched by: held-out scenes, single events, and real clips of ESC-10 fold 4 when they are at hand.

Never the benchmarks' test scenes: those have seeds of their own.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from transformers import ClapModel, PreTrainedTokenizerFast

from recipes.pocket.contrastive import embed_mels, embed_tokens
from recipes.pocket.recipe import REAL_CLASSES, PocketRecipe, feature_extractor
from sonogloss.audio.mel import LogMel, MelSettings
from sonogloss.records import FloatArray
from sonogloss.soundscapes import CLASSES, RATE, references, render_scene, render_variant, sample_scene

SCENES = 400
EVENTS_A_CLASS = 6


class Validation:
    """Audio features and texts of the validation material, rendered once and kept on disk."""

    def __init__(
        self, directory: Path, recipe: PocketRecipe, tokenizer: PreTrainedTokenizerFast, real_clips: Path | None
    ) -> None:
        self.tokenizer = tokenizer
        self.labels = [sound.label for sound in CLASSES.values()]
        path = directory / "validation.npz"
        if not path.exists():
            scenes, sounds = [], []
            for number in range(SCENES):
                scenes.append(sample_scene(recipe.validation_seed + number))
                sounds.append(render_scene(scenes[-1]))
            names = list(CLASSES) * EVENTS_A_CLASS
            events = [_event(name, recipe.validation_seed + 500_000 + i) for i, name in enumerate(names)]
            np.savez(
                path,
                scenes=_mels(sounds),
                captions=[references(scene, 1)[0] for scene in scenes],
                events=_mels(events),
                truth=[list(CLASSES).index(name) for name in names],
            )
        self.kept = dict(np.load(path, allow_pickle=False))
        self.real = _real(real_clips) if real_clips else None

    def __call__(self, model: ClapModel) -> dict[str, float]:
        """Audio-to-text R@1 and R@10, zero-shot accuracy on synthetic events and, 10-way and all-way, on real clips."""
        scenes, captions = _embed(model, self.kept["scenes"]), self._texts(model, self.kept["captions"])
        order = np.argsort(-(scenes @ captions.T), axis=1)
        rank = (order == np.arange(len(scenes))[:, None]).argmax(axis=1)
        labels = self._texts(model, self.labels)
        accuracy = float(((_embed(model, self.kept["events"]) @ labels.T).argmax(1) == self.kept["truth"]).mean())
        result = {"r1": float((rank < 1).mean()), "r10": float((rank < 10).mean()), "zero_shot": accuracy}
        if self.real is None:
            return result | {"real_10": float("nan"), "real_all": float("nan")}
        scores, truth = _embed(model, self.real[0]) @ labels.T, self.real[1]
        ten = [list(CLASSES).index(name) for name in REAL_CLASSES.values()]
        result["real_10"] = float((np.array(ten)[scores[:, ten].argmax(1)] == truth).mean())
        return result | {"real_all": float((scores.argmax(1) == truth).mean())}

    @torch.inference_mode()
    def _texts(self, model: ClapModel, texts: Sequence[str]) -> FloatArray:
        tokens = self.tokenizer([str(text) for text in texts], padding=True, return_tensors="pt").to(model.device)
        return embed_tokens(model, tokens["input_ids"], tokens["attention_mask"]).cpu().numpy()


def _event(name: str, seed: int) -> FloatArray:
    sound = CLASSES[name]
    seconds = np.random.default_rng([seed, 7]).uniform(sound.shortest, sound.longest)
    return render_variant(name, seed, seconds)[0]


@torch.inference_mode()
def _mels(sounds: Sequence[FloatArray]) -> FloatArray:
    mel = LogMel(MelSettings.from_preprocessor(feature_extractor().to_dict()))
    return np.concatenate([mel([sound[: 10 * RATE]]).numpy() for sound in sounds])


@torch.inference_mode()
def _embed(model: ClapModel, mels: FloatArray) -> FloatArray:
    parts = [
        embed_mels(model, torch.from_numpy(mels[i : i + 50]).to(model.device)).cpu().numpy()
        for i in range(0, len(mels), 50)
    ]
    return np.concatenate(parts)


def _real(folder: Path) -> tuple[FloatArray, np.ndarray]:
    with open(folder / "metadata.csv", newline="", encoding="utf-8") as handle:
        rows = [row for row in csv.DictReader(handle) if row["class"] in REAL_CLASSES and row["fold"] == "4"]
    sounds = []
    for row in rows:
        samples, rate = soundfile.read(folder / row["filename"], dtype="float32", always_2d=True)
        sounds.append(soxr.resample(samples.mean(axis=1), rate, RATE).astype(np.float32))
    return _mels(sounds), np.array([list(CLASSES).index(REAL_CLASSES[row["class"]]) for row in rows])
