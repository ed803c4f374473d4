"""Many short recordings: the time a clip and the memory of loose files, a tar, a zip and Parquet.

    python -m benchmarks.many_members --members 100000 --loose 10000

Listing, opening, decoding and cutting are measured, everything in front of the models, in a process for each kind; a
recording is 0.1 s of noise. Memory is the peak of that process, without its decoder; it is also taken for a tenth of
the members, to see whether it grows.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

RATE = 16000


def recordings(count: int) -> Iterator[tuple[str, bytes]]:
    """Names and WAV files, no two alike."""
    rng = np.random.default_rng(0)
    noise = rng.integers(-9000, 9000, RATE // 10 + count, dtype=np.int16)
    for number in range(count):
        target = io.BytesIO()
        soundfile.write(target, noise[number : number + RATE // 10], RATE, format="WAV")
        yield f"{number // 1000:03d}/{number:06d}.wav", target.getvalue()


def write(kind: str, path: Path, count: int) -> None:
    """So many recordings as files of a folder, or in one archive."""
    if kind == "loose":
        for name, data in recordings(count):
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
    elif kind == "tar":
        with tarfile.open(path, "w") as archive:
            for name, data in recordings(count):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    elif kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for name, data in recordings(count):
                archive.writestr(name, data)
    else:
        names, contents = zip(*recordings(count), strict=True)
        audio = pa.array([{"bytes": data, "path": name} for name, data in zip(names, contents, strict=True)])
        pq.write_table(pa.table({"audio": audio}), path, row_group_size=500)


def read(path: str) -> dict[str, float]:
    """List and read everything there; run in a process of its own."""
    from sonogloss.audio import WindowPolicy
    from sonogloss.audio.clip_decoder import clip_decoders
    from sonogloss.sources import Source, list_sources
    from sonogloss.transforms.read_audio import read_units
    from sonogloss.transforms.work import cut_units

    start = time.perf_counter()
    sources = [found for found in list_sources([path]) if isinstance(found, Source)]
    listed = time.perf_counter() - start
    clips = sum(len(batch.clips) for batch in read_units(cut_units(sources), policy=WindowPolicy(), sample_rate=32000))
    seconds = time.perf_counter() - start
    clip_decoders().close()
    # ru_maxrss would count what the process that started this one held.
    [peak] = [int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
    return {"clips": clips, "listed_s": listed, "seconds": seconds, "peak_mib": peak / 1024}


def measured(path: Path) -> dict[str, float]:
    """What :func:`read` says, in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.many_members", "--read", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(result.stdout))


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=100_000)
    parser.add_argument("--loose", type=int, default=10_000)
    parser.add_argument("--output", type=Path, default=Path("bench-output/many-members"))
    parser.add_argument("--short", action="store_true", help="1,000 loose files, 2,000 members")
    parser.add_argument("--read", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        print(json.dumps(read(options.read)))
        return
    loose, members = (1000, 2000) if options.short else (options.loose, options.members)
    shutil.rmtree(options.output, ignore_errors=True)
    options.output.mkdir(parents=True)
    print("| kind | clips | ms a clip | of loose | listing s | peak MiB |\n|---|---|---|---|---|---|")
    base = 0.0
    for kind, counts in {
        "loose": (loose // 10, loose),
        "tar": (members // 10, members),
        "zip": (members // 10, members),
        "parquet": (members // 10, members),
    }.items():
        for count in counts:
            path = options.output / (f"{kind}-{count}" if kind == "loose" else f"{count}.{kind}")
            write(kind, path, count)
            found = measured(path)
            assert found["clips"] == count, found
            each = found["seconds"] / count
            base = each if kind == "loose" else base
            print(
                f"| {kind} | {count:,} | {each * 1000:.2f} | {each / base:.2f} | {found['listed_s']:.1f} | "
                f"{found['peak_mib']:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
