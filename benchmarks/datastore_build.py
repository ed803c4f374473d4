"""build-datastore beside the bare loop that it cannot beat: tokenize, embed and write the same captions in one process.

Captions are distinct sentences of a small grammar. Job and loop run in processes of their own, by turns; what is said
of memory is the largest resident size of a process.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

SUBJECTS = [
    "dog",
    "cat",
    "man",
    "woman",
    "child",
    "bird",
    "horse",
    "car",
    "train",
    "bus",
    "engine",
    "bell",
    "clock",
    "door",
    "tap",
    "crowd",
]
VERBS = [
    "barks",
    "meows",
    "speaks",
    "sings",
    "rings",
    "clicks",
    "hums",
    "rattles",
    "passes",
    "slams",
    "drips",
    "roars",
    "ticks",
    "creaks",
]
PLACES = [
    "garden",
    "street",
    "kitchen",
    "hall",
    "church",
    "forest",
    "station",
    "office",
    "market",
    "stadium",
    "tunnel",
    "field",
]


def caption(number: int) -> str:
    """The sentence of this number; no two are equal."""
    words = []
    rest = number
    for choices in (SUBJECTS, VERBS, PLACES, SUBJECTS, VERBS):
        rest, place = divmod(rest, len(choices))
        words.append(choices[place])
    tail = f" {rest} times" if rest else ""
    return "a {} {} in the {} while a {} {}".format(*words) + tail


def bare_loop(dump: Path, output: Path) -> None:
    """Read, tokenize, embed in order of length, write."""
    from sonogloss.clap import load_clap
    from sonogloss.transforms.embed_text import embed_texts

    texts = dump.read_text().splitlines()
    clap = load_clap("pocket")
    output.mkdir()
    for start in range(0, len(texts), 25_000):
        np.save(output / f"{start}.npy", embed_texts(texts[start : start + 25_000], clap))


def job(dump: Path, output: Path, workers: int) -> None:
    """The command, by its Python name."""
    from sonogloss.pipelines.command_line import main

    argv = ["build-datastore", "--captions", str(dump), "--output", str(output), "--json"]
    if workers > 1:
        argv += ["--direct_running_mode", "multi_processing", "--direct_num_workers", str(workers)]
    assert main(argv) == 0


def measured(kind: str, dump: Path, output: Path) -> dict[str, float]:
    """Seconds and the largest process of one run in a process of its own."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.datastore_build", "--run", kind, str(dump), str(output)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak_mib": json.loads(done.stdout.splitlines()[-1])["peak_kib"] / 1024}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captions", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("bench-output/datastore_build"))
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--run", nargs=3)
    options = parser.parse_args()
    if options.run:
        kind, dump, output = options.run
        if kind == "loop":
            bare_loop(Path(dump), Path(output))
        else:
            job(Path(dump), Path(output), int(kind))
        used = [resource.getrusage(each) for each in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        cpu = sum(each.ru_utime + each.ru_stime for each in used)
        print(json.dumps({"peak_kib": max(each.ru_maxrss for each in used), "cpu_s": cpu}))
        return
    count, repeats = (5_000, 1) if options.short else (options.captions, options.repeats)
    folder = options.output / str(time.time_ns())
    folder.mkdir(parents=True)
    dump = folder / "captions.txt"
    dump.write_text("\n".join(caption(number) for number in range(count)))
    kinds = ("loop", "1", "2")
    runs = {kind: [measured(kind, dump, folder / f"{kind}-{turn}") for turn in range(repeats)] for kind in kinds}
    loop = statistics.median(run["seconds"] for run in runs["loop"])
    print(f"{count:,} captions, {repeats} repeats\n")
    print("| run | seconds (each) | to the loop | largest process, MiB |\n|---|---|---|---|")
    for kind, found in runs.items():
        name = "bare loop" if kind == "loop" else f"build-datastore, {kind} worker{'s' * (kind != '1')}"
        each = ", ".join(f"{run['seconds']:.1f}" for run in found)
        ratio = statistics.median(run["seconds"] for run in found) / loop
        print(f"| {name} | {each} | {ratio:.2f} | {max(run['peak_mib'] for run in found):,.0f} |")


if __name__ == "__main__":
    main()
