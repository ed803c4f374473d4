"""Two worker processes against one, where decoding is most of the work.

    python -m benchmarks.worker_processes --recordings 400

Recordings as libraries of sound effects have them: 60 s, stereo, 24 bits, 96 kHz, FLAC; the first window of each is
tagged. Jobs with one and with two workers alternate. A worker has a decoder process beside it, so that a job with one
worker uses more than one core too; the table says what a single process spends on decoding and on everything.
"""

from __future__ import annotations

import argparse
import io
import shutil
import statistics
import time
from pathlib import Path

import numpy as np
import soundfile

from sonogloss.audio import Cutting, WindowPolicy, cut_clips
from sonogloss.pipelines.classify_audio import classify

RATE, SECONDS, DISTINCT = 96_000, 60, 8
LABELS = ("dog bark", "rain", "siren", "footsteps", "wind")


def recordings(folder: Path, count: int) -> None:
    """Noise with a slow swell; every eighth file is the same sound."""
    if folder.exists():
        return
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    swell = 0.1 + 0.1 * np.sin(np.linspace(0, 20, RATE * SECONDS))[:, None]
    for number in range(min(count, DISTINCT)):
        samples = swell * rng.standard_normal((RATE * SECONDS, 2)).clip(-3, 3)
        soundfile.write(folder / f"{number:05d}.flac", samples, RATE, subtype="PCM_24")
    for number in range(DISTINCT, count):
        shutil.copyfile(folder / f"{number % DISTINCT:05d}.flac", folder / f"{number:05d}.flac")


def seconds_of_decoding(folder: Path) -> float:
    """A recording, in this process."""
    data = next(folder.iterdir()).read_bytes()
    policy = WindowPolicy(max_windows=1)
    start = time.perf_counter()
    for _ in range(5):
        list(cut_clips(io.BytesIO(data), Cutting(uri="a", policy=policy, sample_rate=32_000)))
    return (time.perf_counter() - start) / 5


def seconds_of_job(folder: Path, labels: Path, output: Path, workers: int) -> float:
    """A whole job."""
    shutil.rmtree(output, ignore_errors=True)
    start = time.perf_counter()
    report = classify(
        audio=str(folder), labels=str(labels), output=str(output), long="first", workers=workers, device="cpu"
    )
    assert report["counts"]["dead_letters"] == 0, report["counts"]
    return time.perf_counter() - start


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("bench-output/worker-processes"))
    parser.add_argument("--short", action="store_true", help="64 recordings, 1 round")
    options = parser.parse_args()
    count, rounds = (64, 1) if options.short else (options.recordings, options.rounds)
    folder, labels = options.output / f"audio-{count}", options.output / "labels.txt"
    recordings(folder, count)
    labels.write_text("\n".join(LABELS) + "\n")
    print(f"decoding alone: {seconds_of_decoding(folder) * 1000:.0f} ms a recording")
    ratios = []
    for number in range(rounds):
        one, two = (seconds_of_job(folder, labels, options.output / "results", workers) for workers in (1, 2))
        ratios.append(one / two)
        print(
            f"round {number + 1}: one worker {one:.1f} s ({one / count * 1000:.0f} ms a recording), "
            f"two {two:.1f} s: {ratios[-1]:.2f}x",
            flush=True,
        )
    print(f"median {statistics.median(ratios):.2f}x")


if __name__ == "__main__":
    main()
