"""The real clips to learn from and to be measured on, with sentences; and rendered ones to learn from.

Learned from: ESC-50's folds 1 to 3, UrbanSound8K's fold 1, labeled recordings, AudioTime's demonstration, and sounds of
`sonogloss.soundscapes`. Measured on and never learned from: ESC-50's fold 4, UrbanSound8K's fold 2, and the captioned
clips of Clotho and AudioCaps.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from sonogloss.errors import MissingInputError
from sonogloss.records import FloatArray
from sonogloss.soundscapes import CLASSES, render_variant
from sonogloss.soundscapes import RATE as RENDERED_RATE

from .audio_tower import RATE

WINDOW = 10 * RATE
VARIANTS = 12
_SEED = 40_000_000
_FRAMES = ("{}", "the sound of {}", "{} can be heard", "a recording of {}")
_LABELED: dict[str, tuple[str, dict[str, str | None]]] = {
    "esc": ("class", {"4": "test", "5": None}),
    "urbansound8k": ("class", {"2": "test"}),
    "recordings": ("label", {}),
}
_CAPTIONED = {"audiotime_demo": "train", "clotho_captioned": "captioned", "audiocaps_captioned": "captioned"}


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One recording, real or to be rendered.

    Attributes:
        name: unique, and a path below the features' folder.
        source: the folder it comes from, or `synthetic`.
        use: `train`, `test` (by its class) or `captioned` (by its captions).
        kind: its class, or a name of its own.
        sentences: true of it.
        path: of the recording; None for one to be rendered.
        seed: of the rendering.
    """

    name: str
    source: str
    use: str
    kind: str
    sentences: tuple[str, ...]
    path: Path | None = None
    seed: int = 0


def label_sentences(label: str) -> tuple[str, ...]:
    """Sentences for a class name, the bare name first."""
    return tuple(frame.format(label.replace("_", " ")) for frame in _FRAMES)


def read_clips(folder: Path) -> list[Clip]:
    """Every clip below a folder with the sub-folders above, and the rendered ones.

    Raises:
        MissingInputError: a sub-folder has no metadata.
    """
    try:
        return [*_labeled(folder), *_captioned(folder), *_rendered()]
    except FileNotFoundError as error:
        raise MissingInputError(
            f"The folder of real clips lacks {error.filename!r}.",
            "Name one with esc, urbansound8k, recordings, audiotime_demo, clotho_captioned and audiocaps_captioned.",
        ) from error


def windows(clip: Clip) -> list[FloatArray]:
    """Mono windows of ten seconds at 44.1 kHz; a rest below two seconds is left out."""
    if clip.path is None:
        rng = np.random.default_rng([_SEED, clip.seed])
        sound = CLASSES[clip.kind.removeprefix("rendered ")]
        seconds = float(np.clip(rng.uniform(sound.shortest, sound.longest), 1, 4))
        rendered, _ = render_variant(sound.name, _SEED + clip.seed, seconds)
        samples, rate = rendered[:, None], RENDERED_RATE
    else:
        samples, rate = soundfile.read(clip.path, dtype="float32", always_2d=True)
    mono = soxr.resample(samples.mean(axis=1), rate, RATE).astype(np.float32)
    starts = range(0, max(1, len(mono) - 2 * RATE), WINDOW)
    return [mono[start : start + WINDOW] for start in starts]


def _labeled(folder: Path) -> Iterator[Clip]:
    for source, (column, folds) in _LABELED.items():
        with (folder / source / "metadata.csv").open(newline="", encoding="utf-8") as table:
            for row in csv.DictReader(table):
                use = folds.get(row.get("fold", ""), "train")
                if use is None:
                    continue
                yield Clip(
                    name=f"{source}/{row['filename']}",
                    source=source,
                    use=use,
                    kind=row[column],
                    sentences=label_sentences(row[column]),
                    path=folder / source / row["filename"],
                )


def _captioned(folder: Path) -> Iterator[Clip]:
    for source, use in _CAPTIONED.items():
        for line in (folder / source / "metadata.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            name = f"{source}/{row['filename']}"
            yield Clip(
                name=name,
                source=source,
                use=use,
                kind=name,
                sentences=tuple(row["captions"] if "captions" in row else [row["caption"]]),
                path=folder / source / row["filename"],
            )


def _rendered() -> Iterator[Clip]:
    for number in range(VARIANTS * len(CLASSES)):
        sound = list(CLASSES.values())[number % len(CLASSES)]
        yield Clip(
            name=f"synthetic/{number}",
            source="synthetic",
            use="train",
            kind=f"rendered {sound.name}",
            sentences=label_sentences(sound.label),
            seed=number,
        )
