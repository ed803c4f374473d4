"""The study CLAP as sonogloss takes it: `--clap study:DIRECTORY`.

::

    study.json            what it is
    audio.safetensors     the CNN, as it came
    heads.safetensors     the two learned heads
    text/                 MiniLM, as it came
    README.md             the model card
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from sonogloss import files
from sonogloss.clap.inputs import checked_texts, checked_waveforms
from sonogloss.errors import MissingInputError, ModelFormatError
from sonogloss.one_thread import one_thread
from sonogloss.records import FloatArray

from .audio_tower import RATE, WIDTH, AudioTower
from .categories import CATEGORIES
from .heads import Heads
from .text_tower import TextTower

PARTS = ("study.json", "audio.safetensors", "heads.safetensors", "text/model.safetensors", "text/tokenizer.json")


class StudyClap:
    """See :class:`sonogloss.clap.Clap`. It runs on the CPU, one clip and one thread at a time.

    Args:
        audio_tower: the CNN.
        text_tower: MiniLM.
        heads: over both.
        name: as the user gave it.
        fingerprint: sha256 of all parts.
    """

    sample_rate, window_s = RATE, 10.0

    def __init__(
        self, audio_tower: AudioTower, text_tower: TextTower, heads: Heads, *, name: str, fingerprint: str
    ) -> None:
        self._audio_tower, self._text_tower, self._heads = audio_tower, text_tower, heads
        self.name, self.fingerprint, self.dim = name, fingerprint, heads.dim
        self.temperature = math.exp(-float(heads.log_scale))

    @classmethod
    def open(cls, directory: Path, *, name: str) -> Self:
        """Load a directory.

        Raises:
            MissingInputError: there is no such directory.
            ModelFormatError: a part is missing or damaged.
        """
        if not directory.is_dir():
            raise MissingInputError(
                f"The study CLAP {str(directory)!r} is not a directory.", "Make it with `make real`."
            )
        remedy = "Make the directory again with `make real`."
        try:
            digests = {part: files.digest(str(directory / part)) for part in PARTS}
            tower = AudioTower()
            tower.load_state_dict(load_file(directory / "audio.safetensors"))
            weights = load_file(directory / "heads.safetensors")
            names = torch.zeros(len(CATEGORIES), weights["of_text.bias"].numel())
            heads = Heads(torch.zeros(WIDTH), torch.ones(WIDTH), names, clips=len(weights["bank"]))
            heads.load_state_dict(weights)
        except (OSError, KeyError, RuntimeError, SafetensorError) as error:
            raise ModelFormatError(f"The study CLAP {str(directory)!r} cannot be loaded ({error}).", remedy) from error
        fingerprint = hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()
        text_tower = TextTower(directory / "text")
        for part in (tower, heads):
            part.eval().requires_grad_(requires_grad=False)
        return cls(tower, text_tower, heads, name=name, fingerprint=fingerprint)

    def embed_text(self, texts: Sequence[str]) -> FloatArray:
        """See :meth:`sonogloss.clap.Clap.embed_text`."""
        rows = self._text_tower(checked_texts(texts))
        return self._by_row(self._heads.text, rows)

    def embed_audio(self, waveforms: Sequence[npt.NDArray[Any]], *, sample_rate: int | None = None) -> FloatArray:
        """See :meth:`sonogloss.clap.Clap.embed_audio`."""
        return self._by_row(self._heads.audio, self.audio_features(checked_waveforms(waveforms, self, sample_rate)))

    def audio_features(self, waveforms: Sequence[FloatArray]) -> FloatArray:
        """What the audio tower gives [n, features + categories] for mono waveforms at its rate."""
        return audio_features(self._audio_tower, waveforms)

    def _by_row(self, head: Any, rows: FloatArray) -> FloatArray:
        """A head over rows one by one: a product of matrices rounds differently with the number of its rows."""
        result = np.empty((len(rows), self.dim), np.float32)
        with torch.inference_mode(), one_thread():
            for number, row in enumerate(rows):
                result[number] = head(torch.from_numpy(row[None]))[0].numpy()
        return result


def audio_features(tower: AudioTower, waveforms: Sequence[FloatArray]) -> FloatArray:
    """What a tower gives [n, features + categories] for mono waveforms at its rate, of any length, one at a time."""
    result = np.empty((len(waveforms), WIDTH), np.float32)
    with torch.inference_mode(), one_thread():
        for number, waveform in enumerate(waveforms):
            result[number] = tower(torch.from_numpy(np.ascontiguousarray(waveform))).numpy()
    return result


def open_clap(directory: str, *, name: str, device: str) -> StudyClap:
    """The entry point: the study CLAP in a directory; it is small and stays on the CPU whatever the device."""
    return StudyClap.open(Path(directory), name=name)
