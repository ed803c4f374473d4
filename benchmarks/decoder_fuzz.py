"""Do decoders survive what is done to files? Files of 27 formats, changed at random, decoded through the pool of a job.

    nice python -m benchmarks.decoder_fuzz --minutes 10 [--seed 0]

Each file is cut, spliced, repeated, or has bits, bytes, sizes or whole stretches changed, and must end in clips or one
error with a code. What costs a decoder process (CRASHED, TIMEOUT, LIMIT by memory) is counted and its file is kept in
--output; anything else that is raised ends the run.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sonogloss.audio import AudioLimits, Cutting, WindowPolicy
from sonogloss.audio.clip_decoder import clip_decoders
from sonogloss.audio.decoder_pool import DecodeRequest
from sonogloss.errors import ClipError
from tests.audio.hostile import hostile_files, valid

LOST = {"CRASHED", "TIMEOUT"}
NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
CUTTING = Cutting(
    uri="file",
    member=None,
    policy=WindowPolicy(),
    sample_rate=48_000,
    limits=AudioLimits(max_seconds=600.0),
)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("bench-output/decoder-fuzz"))
    parser.add_argument("--short", action="store_true", help="six seconds")
    options = parser.parse_args()
    minutes = 0.1 if options.short else options.minutes
    pool = clip_decoders()
    end = time.monotonic() + 60 * minutes
    outcomes: Counter[str] = Counter()
    slowest, clips = (0.0, ""), 0
    current: list[tuple[str, bytes]] = []

    def requests() -> Iterator[DecodeRequest]:
        for name, data in mutations(options.seed):
            if time.monotonic() > end:
                return
            current.append((name, data))
            yield DecodeRequest(source=data, options=CUTTING)

    for items in pool.decode_each(requests()):
        name, data = current.pop(0)
        start = time.monotonic()
        code = "clips"
        try:
            for clip in items:
                assert np.isfinite(clip.samples).all()
                assert np.abs(clip.samples).max() <= 1.0
                clips += 1
        except ClipError as error:
            code = error.code.value
            if code in LOST or "MiB of memory" in error.message:
                code += " (process lost)"
                options.output.mkdir(parents=True, exist_ok=True)
                (options.output / f"{sum(outcomes.values())}-{name}").write_bytes(data)
                print(f"{name}: {error}", flush=True)
        outcomes[code] += 1
        slowest = max(slowest, (time.monotonic() - start, name))
    pool.close()
    result = {
        "minutes": minutes,
        "seed": options.seed,
        "files": sum(outcomes.values()),
        "clips": clips,
        "outcomes": dict(outcomes.most_common()),
        "processes": pool.processes_started,
        "slowest": {"seconds": round(slowest[0], 2), "format": slowest[1]},
        "largest_decoder_mib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10,
        "largest_worker_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }
    print(json.dumps(result, indent=2))


def mutations(seed: int) -> Iterator[tuple[str, bytes]]:
    """Format and content of changed files, without end."""
    chance = random.Random(seed)  # noqa: S311  # the same files in every run
    seeds = [*valid().items(), *((file.name.rpartition(".")[2], file.data) for file in hostile_files())]
    whole = list(valid().items())
    while True:
        name, data = chance.choice(whole if chance.random() < 0.7 else seeds)
        content = bytearray(data)
        for _ in range(chance.choice((1, 1, 2, 4, 16))):
            _change(content, chance, whole)
        yield name, bytes(content)


def _change(content: bytearray, chance: random.Random, others: list[tuple[str, bytes]]) -> None:
    """One change, in the first bytes more often than elsewhere."""
    size = len(content)
    if size == 0:
        content += chance.randbytes(50)
        return
    at = chance.randrange(min(size, 200)) if chance.random() < 0.6 else chance.randrange(size)
    kind = chance.randrange(8)
    length = min(chance.choice((1, 4, 30, 400)), size - at)
    if kind == 0:
        content[at] ^= 1 << chance.randrange(8)
    elif kind == 1:
        content[at : at + length] = chance.randbytes(length)
    elif kind == 2:  # a size, a count, a rate
        width = chance.choice((1, 2, 4, 8))
        number = chance.choice(NUMBERS) & (1 << 8 * width) - 1
        content[at : at + width] = number.to_bytes(width, chance.choice(("little", "big")))
    elif kind == 3:
        del content[at : at + length]
    elif kind == 4:
        content[at:at] = content[at : at + length] * chance.choice((1, 2, 50))
    elif kind == 5:
        del content[at:]
    elif kind == 6:
        other = chance.choice(others)[1]
        content[at:] = other[chance.randrange(len(other)) :]
    else:
        content += chance.choice(others)[1]


if __name__ == "__main__":
    main()
