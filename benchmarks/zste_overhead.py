"""What does the ZSTE job cost beyond encoding? 2,000 items against a bare loop, in one process.

    python -m benchmarks.zste_overhead [--items 2000] [--rounds 3]

The loop reads each clip once, composes, embeds the same sounds and the same distinct sentences, and judges nothing. Job
and loop alternate; the aim is a ratio of at most 1.1. That the job encodes every sound and every sentence exactly once
is counted as well.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import statistics
import time
from dataclasses import replace
from pathlib import Path

import soundfile

from sonogloss.clap import Clap
from sonogloss.pipelines.config.temporal import ZsteConfig
from sonogloss.pipelines.evaluate_order import choose_questions, zste
from sonogloss.soundscapes import RATE
from sonogloss.temporal.clips import read_samples, soundscape_clips
from sonogloss.temporal.config import PairSettings
from sonogloss.temporal.zste import Questions, needed
from sonogloss.transforms.encode_variants import BATCH, clip_reader
from sonogloss.transforms.models import ClapReference


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("bench-output/zste-overhead"))
    parser.add_argument("--short", action="store_true", help="300 items, 1 round")
    options = parser.parse_args()
    items, rounds = (300, 1) if options.short else (options.items, options.rounds)
    folder = _clips(options.output / "clips", per_class=4)
    results = options.output / "results"
    config = ZsteConfig(clap="pocket", clips=folder, output=results, items=items, device="cpu")
    questions = choose_questions(config)
    wanted = len(questions.clips) + sum(len(needed(group)) for group in questions.groups)
    clap = ClapReference.of("pocket", "cpu").load()
    bare_loop(choose_questions(replace(config, items=20)), clap)  # first calls import and allocate
    ratios = []
    for number in range(rounds):
        shutil.rmtree(results, ignore_errors=True)
        begun = time.perf_counter()
        report = zste(config)
        middle = time.perf_counter()
        sounds, texts = bare_loop(questions, clap)
        ended = time.perf_counter()
        if (report["counts"]["encoded"], report["texts"]) != (sounds, texts) or sounds != wanted:
            raise SystemExit(f"the job encoded {report['counts']['encoded']} sounds, the loop {sounds}")
        ratios.append((middle - begun) / (ended - middle))
        print(
            f"round {number + 1}: job {middle - begun:.1f} s, loop {ended - middle:.1f} s, {ratios[-1]:.3f}", flush=True
        )
    summary = {"pairs": len(questions.groups), "sounds": sounds, "texts": texts, "ratios": ratios}
    summary |= {"median": statistics.median(ratios), "aim": 1.1}
    (options.output / "report.json").write_text(json.dumps(summary, indent=2))
    print(json.dumps(summary, indent=2))


def bare_loop(questions: Questions, clap: Clap) -> tuple[int, int]:
    """Encode what the questions need, each once; returns the numbers of sounds and of texts."""
    from sonogloss.temporal.sequences import compose

    settings = PairSettings()
    read = clip_reader(clap, settings)
    sounds = [read(clip) for clip in questions.clips]
    encoded = sum(len(clap.embed_audio(sounds[i : i + BATCH])) for i in range(0, len(sounds), BATCH))
    batch = []
    for group in questions.groups:
        first, second = read(group.first), read(group.second)
        for variant in needed(group):
            batch.append(
                compose(first, second, variant, settings, sample_rate=clap.sample_rate, window_s=clap.window_s)
            )
            if len(batch) == BATCH:
                encoded += len(clap.embed_audio(batch))
                batch = []
    encoded += len(clap.embed_audio(batch)) if batch else 0
    return encoded, len(clap.embed_text(questions.texts()))


def _clips(folder: Path, per_class: int) -> Path:
    """Rendered clips as WAV files, with their metadata."""
    if not (folder / "metadata.csv").exists():
        folder.mkdir(parents=True, exist_ok=True)
        rows = []
        for number, clip in enumerate(soundscape_clips(per_class, split="overhead")):
            soundfile.write(folder / f"{number}.wav", read_samples(clip, RATE, 5.0), RATE)
            rows.append({"filename": f"{number}.wav", "class": clip.label})
        with open(folder / "metadata.csv", "w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, fieldnames=["filename", "class"])
            writer.writeheader()
            writer.writerows(rows)
    return folder


if __name__ == "__main__":
    main()
