"""Memory and time of captioning a recording of a day, as FLAC and as MP3.

    python -m benchmarks.long_recording --hours 24

The command runs in a process of its own. Its memory is the largest sum over it and its children, and what it needs for
a recording of ten seconds (the empty job: models, datastore, Beam) is taken off.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

RATES = {".flac": 4000, ".mp3": 8000}  # the lowest of each: memory is the question, and a day is long
KINDS = {
    "the first 64 windows": ["--max-windows", "64"],
    "the first 64 windows, pooled": ["--max-windows", "64", "--long", "pool"],
}
SENTENCES = ("a dog barks", "rain falls on a roof", "a bell rings twice", "an engine idles while a man speaks")


def write(path: Path, seconds: float) -> None:
    """Quiet noise and a tone that changes by the minute; an MP3 repeats its first ten minutes."""
    if path.suffix == ".mp3" and seconds > 600:
        write(path, 600)
        data = path.read_bytes()
        start = data.index(data[:2], 4)  # behind the first frame, which says how many there are
        with path.open("wb") as target:
            for _ in range(int(seconds / 601)):  # each is a little longer than ten minutes
                target.write(data[start:])
        return
    import numpy as np
    import soundfile

    rate = RATES[path.suffix]
    noise = (0.01 * np.random.default_rng(0).standard_normal(60 * rate)).astype(np.float32)
    time_s = np.arange(60 * rate, dtype=np.float32) / rate
    with soundfile.SoundFile(path, "w", rate, 1, format=path.suffix[1:].upper()) as file:
        left = round(seconds * rate)
        minute = 0
        while left > 0:
            tone = 0.2 * np.sin(2 * np.pi * (200 + minute) * time_s)
            file.write((noise + tone)[:left])
            left, minute = left - len(noise), minute + 1


def measure(command: list[str], log: Path) -> tuple[float, float]:
    """Run a command; seconds, and the largest resident memory of it and its children together, in MiB."""
    start, peak = time.perf_counter(), 0
    with log.open("w") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink)
        while process.poll() is None:
            peak = max(peak, resident(process.pid))
            time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{log.read_text()[-2000:]}")
    return time.perf_counter() - start, peak / 2**20


def resident(process: int) -> int:
    """Resident bytes of a process and all its descendants; pages that they share count for each."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            parents.setdefault(parent, []).append(int(entry.name))
    total, wanted = 0, [process]
    while wanted:
        one = wanted.pop()
        wanted += parents.get(one, [])
        try:
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            continue
    return total


def run(folder: Path, hours: float, formats: Sequence[str]) -> None:
    """Measure the empty job, then each file."""
    sonogloss = [sys.executable, "-m", "sonogloss"]
    (folder / "captions.txt").write_text("\n".join(SENTENCES))
    store, log = folder / "store", folder / "log"
    measure([*sonogloss, "build-datastore", "--captions", str(folder / "captions.txt"), "--output", str(store)], log)
    caption = [*sonogloss, "caption", "--captioner", "pocket", "--datastore", str(store), "--window", "10"]
    write(folder / "short.flac", 10.0)
    _, empty = measure([*caption, "--audio", str(folder / "short.flac"), "--output", str(folder / "empty")], log)
    print(f"The empty job: {empty:.0f} MiB\n")
    print("| file | MB | what | rows | seconds | times real time | MiB above the empty job |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for suffix in formats:
        path = folder / f"day.{suffix}"
        if not path.exists():
            write(path, hours * 3600)
        size = path.stat().st_size / 1e6
        for number, (what, options) in enumerate(KINDS.items()):
            output = folder / f"{suffix}-{number}"
            seconds, peak = measure([*caption, "--audio", str(path), "--output", str(output), *options], log)
            rows = json.loads((output / "run.json").read_text())["counts"]["captions"]
            print(
                f"| {suffix.upper()}, {hours:g} h | {size:.0f} | {what} | {rows} | {seconds:.0f} "
                f"| {hours * 3600 / seconds:.0f} | {peak - empty:.0f} |",
                flush=True,
            )


def main() -> None:
    """Write each file, and measure what captioning it takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--short", action="store_true", help="half an hour")
    parser.add_argument("--formats", nargs="+", default=["flac", "mp3"])
    parser.add_argument("--folder", type=Path, help="an empty one; a day.flac or day.mp3 in it is used")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(options.folder or Path(folder), 0.5 if options.short else options.hours, options.formats)


if __name__ == "__main__":
    main()
