"""build-datastore beside the bare loop that it cannot beat: tokenize, embed and write the same captions in one process.

    python -m benchmarks.datastore_build --captions 200000 --runs loop 1 2

Captions are real ones recombined, the begin of one and the end of another, all distinct; where there are none,
sentences of a small grammar. Job and loop run in processes of their own, by turns. `--stub` takes vectors out of thin
air in place of a CLAP: what is left is what the job itself costs. Processor seconds are those of all processes of a
run; what is said of memory is the largest resident size of one.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.real_text_data import read_corpora

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


def recombined(texts: Sequence[str], count: int) -> Iterator[str]:
    """So many distinct captions, each the first half of one text and the second half of another."""
    words = [text.split() for text in texts]
    random = np.random.default_rng(0)
    seen = set[int]()
    while len(seen) < count:
        for one, other in random.integers(0, len(words), (10_000, 2)).tolist():
            text = " ".join(words[one][: -(-len(words[one]) // 2)] + words[other][len(words[other]) // 2 :])
            if len(seen) < count and hash(text) not in seen:
                seen.add(hash(text))
                yield text


def write_dump(path: Path, folder: Path, count: int) -> None:
    """A caption a line."""
    grammar = map(caption, range(count))
    texts = recombined(read_corpora(folder)["audiocaps"].train, count) if folder.is_dir() else grammar
    with path.open("w") as file:
        file.writelines(f"{text}\n" for text in texts)


def stub(texts: Sequence[str], clap: Any, *_: Any) -> np.ndarray[Any, Any]:
    """Unit vectors that cost little."""
    vectors = np.random.default_rng(len(texts)).standard_normal((len(texts), clap.dim), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def bare_loop(dump: Path, output: Path) -> None:
    """Read, tokenize, embed in order of length, write."""
    from sonogloss.clap import load_clap
    from sonogloss.transforms import embed_text

    texts = dump.read_text().splitlines()
    clap = load_clap("pocket")
    output.mkdir()
    for start in range(0, len(texts), 25_000):
        np.save(output / f"{start}.npy", embed_text.embed_texts(texts[start : start + 25_000], clap))


def job(dump: Path, output: Path, workers: int) -> None:
    """The command, as its process runs it."""
    from sonogloss.pipelines.command_line import main

    sys.argv = ["sonogloss", "build-datastore", "--captions", str(dump), "--output", str(output), "--json"]
    sys.argv += ["--index", "flat"]  # which holds nothing in memory; auto trains another kind above 8 GiB of vectors
    if workers > 1:
        sys.argv += ["--workers", str(workers)]
    assert main() == 0


def run_here(kind: str, dump: Path, output: Path, with_stub: bool) -> None:
    """One run; its last line says what it took."""
    if with_stub:
        from sonogloss.transforms import embed_text

        embed_text.embed_texts = stub
    if kind == "loop":
        bare_loop(dump, output)
    else:
        job(dump, output, int(kind))
    used = [resource.getrusage(each) for each in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(each.ru_utime + each.ru_stime for each in used)
    print(json.dumps({"peak_mib": max(each.ru_maxrss for each in used) / 1024, "cpu_s": cpu}))


def measured(kind: str, dump: Path, output: Path, with_stub: bool) -> dict[str, float]:
    """What one run takes in a process of its own."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.datastore_build", "--run", kind, str(dump), str(output)]
    done = subprocess.run([*command, *["--stub"] * with_stub], check=True, capture_output=True, text=True)
    return {"seconds": time.perf_counter() - start, **json.loads(done.stdout.splitlines()[-1])}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=int, default=200_000)
    parser.add_argument("--runs", nargs="+", default=["loop", "1", "2"], help="loop, or a number of workers")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--stub", action="store_true", help="embed without a CLAP")
    parser.add_argument("--texts", type=Path, default=Path("../shared/data/captions"), help="AudioCaps and Clotho")
    parser.add_argument("--output", type=Path, default=Path("bench-output/datastore_build"))
    parser.add_argument("--short", action="store_true", help="5,000 captions")
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        kind, dump, output = options.run
        run_here(kind, Path(dump), Path(output), options.stub)
        return
    count = 5_000 if options.short else options.captions
    folder = options.output / str(time.time_ns())
    folder.mkdir(parents=True)
    write_dump(folder / "captions.txt", options.texts, count)
    runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in options.runs}
    for turn in range(options.repeats):
        for kind, found in runs.items():
            found.append(measured(kind, folder / "captions.txt", folder / f"{kind}-{turn}", options.stub))
    print(f"{count:,} captions{', stub' if options.stub else ''}\n")
    print("| run | seconds | processor seconds | largest process, MiB |\n|---|---|---|---|")
    for kind, found in runs.items():
        name = "bare loop" if kind == "loop" else f"build-datastore, workers: {kind}"
        seconds, cpu = (statistics.median(run[key] for run in found) for key in ("seconds", "cpu_s"))
        print(f"| {name} | {seconds:.1f} | {cpu:.1f} | {max(run['peak_mib'] for run in found):,.0f} |")


if __name__ == "__main__":
    main()
