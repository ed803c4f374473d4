r"""Real clips with human captions, in halves; and human captions to learn from, without those of the clips.

    python -m benchmarks.real_sound_data --output bench-output/real-captions

writes `store/*.txt`, about 53,000 captions of four sources for a datastore, and `train.txt`, 6,000 of them to learn
from.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sonogloss.audio import Cutting, WindowPolicy, cut_clips
from sonogloss.clap import Clap
from sonogloss.records import FloatArray

SOURCES = ("audiocaps_captioned", "clotho_captioned")
_DUMPS = {  # file, where its text is, and one caption in how many
    "audiocaps": ("audiocaps_train", "caption", 2),
    "clotho": ("clotho_train", "captions", 1),
    "bbc": ("bbc_sound_effects", "description", 2),
    "wavtext5k": ("wavtext5k", "description", 1),
}
_LEARNED = 6000

CaptionedClip = tuple[Path, list[str]]


def main() -> None:
    """Write the dumps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--output", type=Path, default=Path("bench-output/real-captions"))
    arguments = parser.parse_args()
    captions = read_captions(arguments.data)
    write_dumps(arguments.output / "store", captions)
    together = [text for texts in captions.values() for text in texts]
    write_dumps(arguments.output, {"train": evenly(together, _LEARNED)})


def read_half(folder: Path, half: str) -> list[CaptionedClip]:
    """Every other clip of each source, in the order of names, with its human captions; `development` or `test`."""
    found = []
    for source in SOURCES:
        rows = sorted(_lines(folder / source / "metadata.jsonl"), key=lambda row: str(row["filename"]))
        found += [(folder / source / row["filename"], row["captions"]) for row in rows[half == "test" :: 2]]
    return found


def read_captions(folder: Path) -> dict[str, list[str]]:
    """Human captions by source, each once, and none that a captioned clip has."""
    clips = [clip for half in ("development", "test") for clip in read_half(folder / "audio", half)]
    own = {_bare(text) for _, texts in clips for text in texts}
    found = {}
    for name, (file, column, every) in _DUMPS.items():
        texts = [text for row in _lines(folder / "captions" / f"{file}.jsonl.gz") for text in _texts(row[column])]
        kept = [text for text in dict.fromkeys(" ".join(text.split()) for text in texts) if text]
        found[name] = [text for text in kept if _bare(text) not in own][::every]
    return found


def write_dumps(folder: Path, captions: Mapping[str, Sequence[str]]) -> None:
    """A text file a source, one caption a line."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, texts in captions.items():
        (folder / f"{name}.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")


def evenly(texts: Sequence[str], count: int) -> list[str]:
    """So many of them at even distances."""
    return [texts[len(texts) * place // count] for place in range(count)]


def embed_clips(clap: Clap, paths: Sequence[Path]) -> FloatArray:
    """Unit rows: the mean of a recording's windows."""
    rows = []
    for path in paths:
        cutting = Cutting(uri=str(path), policy=WindowPolicy(), sample_rate=clap.sample_rate)
        windows = [clip.samples for clip in cut_clips(path.read_bytes(), cutting)]
        mean = clap.embed_audio(windows).mean(axis=0)
        rows.append(mean / np.linalg.norm(mean))
    return np.stack(rows)


def _bare(text: str) -> str:
    return text.lower().strip(" .")


def _texts(value: Any) -> list[str]:
    return [str(text) for text in value] if isinstance(value, list) else [str(value)]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    data = path.read_bytes()
    yield from map(json.loads, (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines())


if __name__ == "__main__":
    main()
