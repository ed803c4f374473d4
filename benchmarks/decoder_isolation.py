"""What do decoder processes cost? Short clips decoded here and in a child, by shared memory and by pipes.

    python -m benchmarks.decoder_isolation --clips FOLDER [--rounds 5]

The ways take turns, block of files by block, in an order that rotates; each round prints the time of every way over
that of decoding in this process. MALLOC_MMAP_THRESHOLD_=33554432 and MALLOC_TRIM_THRESHOLD_=67108864 in the environment
give this process the allocator settings that decoder processes have.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.decoder_functions import decode_clips, decode_clips_for_pipes
from sonogloss.audio.decoder_pool import DecodeRequest, DecoderPool
from sonogloss.records import Clip

BLOCK = 25  # files that a way decodes in a row

Way = Callable[[Sequence[str]], list[list[Clip]]]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, default=Path("../shared/data/audio/esc"), help="a folder of sound files")
    parser.add_argument("--sample-rate", type=int, default=48_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--short", action="store_true", help="100 files, 2 rounds")
    options = parser.parse_args()
    files = sorted(map(str, options.clips.rglob("*.ogg")))[: 100 if options.short else None]
    if not files:
        parser.error(f"--clips {options.clips} holds no .ogg files")
    rounds = 2 if options.short else options.rounds
    ways, start_seconds = _ways(options.sample_rate, files[0])
    _check_equal(ways, files[: len(files) // 10])
    ratios: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        seconds = _round(ways, files)
        for name in ways:
            ratios[name].append(seconds[name] / seconds["in_process"])
        milliseconds = {name: round(1000 * total / len(files), 2) for name, total in seconds.items()}
        print(f"round {number + 1}: ms a file {milliseconds}", flush=True)
    del ratios["in_process"]
    result: dict[str, Any] = {"files": len(files), "start_seconds": start_seconds}
    result["seconds_over_in_process"] = {
        name: {"median": statistics.median(values), "min": min(values), "max": max(values)}
        for name, values in ratios.items()
    }
    print(json.dumps(result, indent=2))


def _ways(sample_rate: int, first: str) -> tuple[dict[str, Way], float]:
    """The ways to decode files, warm, and the seconds that a process takes to start and decode its first."""
    shared, pipes = DecoderPool(decode_clips), DecoderPool(decode_clips_for_pipes)

    def in_process(paths: Sequence[str]) -> list[list[Clip]]:
        found = []
        for path in paths:
            with open(path, "rb") as file:
                found.append(list(decode_clips(file, sample_rate)))
        return found

    def each(requests: Iterable[DecodeRequest]) -> list[list[Clip]]:
        return [list(items) for items in shared.decode_each(requests)]

    ways: dict[str, Way] = {
        "in_process": in_process,
        "in_advance": lambda paths: each(DecodeRequest(source=path, options=sample_rate) for path in paths),
        "in_advance_open_files": lambda paths: each(
            DecodeRequest(source=partial(open, path, "rb"), options=sample_rate) for path in paths
        ),
        "one_by_one": lambda paths: [list(shared.decode(path, sample_rate)) for path in paths],
        "one_by_one_by_pipe": lambda paths: [list(pipes.decode(path, sample_rate)) for path in paths],
    }
    start = time.perf_counter()
    ways["one_by_one"]([first])
    start_seconds = time.perf_counter() - start
    for way in ways.values():
        way([first])
    fcntl.fcntl(pipes._idle[0]._child.responses, fcntl.F_SETPIPE_SZ, 1 << 20)
    return ways, start_seconds


def _check_equal(ways: dict[str, Way], files: list[str]) -> None:
    expected = ways["in_process"](files)
    for way in ways.values():
        for ours, theirs in zip(way(files), expected, strict=True):
            assert all(np.array_equal(a.samples, b.samples) for a, b in zip(ours, theirs, strict=True))


def _round(ways: dict[str, Way], files: list[str]) -> dict[str, float]:
    """Seconds of each way for all files."""
    seconds = dict.fromkeys(ways, 0.0)
    order = list(ways)
    for begin in range(0, len(files), BLOCK):
        for name in order:
            start = time.perf_counter()
            ways[name](files[begin : begin + BLOCK])
            seconds[name] += time.perf_counter() - start
        order.append(order.pop(0))
    return seconds


if __name__ == "__main__":
    main()
