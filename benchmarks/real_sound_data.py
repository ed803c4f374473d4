r"""Real clips with human captions, in halves; and human captions to learn from, without those of the clips.

    python -m benchmarks.real_sound_data --output bench-output/real-captions

writes `store/*.txt`, about 83,000 captions of four sources to learn from and to look up, and `validation.txt`, 1,000
held-out ones of two of them.
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
Dumps = Mapping[str, tuple[str, str]]
"""By name a file, and where its text is."""
DUMPS: Dumps = {
    "audiocaps": ("audiocaps_train", "caption"),
    "clotho": ("clotho_train", "captions"),
    "bbc": ("bbc_sound_effects", "description"),
    "wavtext5k": ("wavtext5k", "description"),
}
HELD_OUT: Dumps = {"audiocaps": ("audiocaps_val", "captions"), "clotho": ("clotho_val", "captions")}

CaptionedClip = tuple[Path, list[str]]


def main() -> None:
    """Write the dumps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--output", type=Path, default=Path("bench-output/real-captions"))
    arguments = parser.parse_args()
    learned = read_captions(arguments.data, DUMPS)
    write_dumps(arguments.output / "store", learned)
    known = {text for texts in learned.values() for text in texts}
    held_out = read_captions(arguments.data, HELD_OUT).values()
    validation = [text for texts in held_out for text in evenly([text for text in texts if text not in known], 500)]
    write_dumps(arguments.output, {"validation": validation})


def read_half(folder: Path, half: str) -> list[CaptionedClip]:
    """Every other clip of each source, in the order of names, with its human captions; `development` or `test`."""
    found = []
    for source in SOURCES:
        rows = sorted(_lines(folder / source / "metadata.jsonl"), key=lambda row: str(row["filename"]))
        found += [(folder / source / row["filename"], row["captions"]) for row in rows[half == "test" :: 2]]
    return found


def read_captions(folder: Path, dumps: Dumps = DUMPS) -> dict[str, list[str]]:
    """Human captions by source, each once, and none that a captioned clip has."""
    clips = [clip for half in ("development", "test") for clip in read_half(folder / "audio", half)]
    own = {_bare(text) for _, texts in clips for text in texts}
    found = {}
    for name, (file, column) in dumps.items():
        texts = [text for row in _lines(folder / "captions" / f"{file}.jsonl.gz") for text in _texts(row[column])]
        kept = [text for text in dict.fromkeys(" ".join(text.split()) for text in texts) if text]
        found[name] = [text for text in kept if _bare(text) not in own]
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
