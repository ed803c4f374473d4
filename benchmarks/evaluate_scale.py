"""Evaluation of many captions: memory, two workers against one, and CIDEr-D beside pycocoevalcap.

    python -m benchmarks.evaluate_scale --rows 1000000 --corpora corpora
    python -m benchmarks.evaluate_scale --part join --rows 1000000 --corpora corpora
    python -m benchmarks.evaluate_scale --part workers --rows 250000 --corpora corpora
    python -m benchmarks.evaluate_scale --part cider --data ../shared/data

Captions and references are words drawn by Zipf's law, so that most longer n-grams are new, as in large corpora of real
text and more so. Every clip has five references; `cider` has 34,080 captions of 1,540 clips, as many runs over one test
set have, or with `--data` those of 67 runs of real captioners. pycocoevalcap is measured where it is installed; both
sides get words that are cut already.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.metric_parity import numbered, read_runs
from sonogloss.metrics import evaluate
from sonogloss.metrics.tokenize import tokenize
from sonogloss.pipelines.running.join_references import read_results, spread_rows
from sonogloss.transforms.join_references import join_bucket

REFERENCES = 5
_AT_ONCE = 50_000


def write_corpus(folder: Path, rows: int) -> None:
    """`predictions.parquet` and `references.parquet`."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    schemas = {"predictions": {"caption": pa.string()}, "references": {"references": pa.list_(pa.string())}}
    writers = {
        name: pq.ParquetWriter(folder / f"{name}.parquet", pa.schema({"file_name": pa.string(), **schema}))
        for name, schema in schemas.items()
    }
    for start in range(0, rows, _AT_ONCE):
        names = [f"clip-{number}.wav" for number in range(start, min(rows, start + _AT_ONCE))]
        references, captions = texts(rng, len(names))
        columns = {"predictions": {"caption": captions}, "references": {"references": references}}
        for name, writer in writers.items():
            writer.write_table(pa.table({"file_name": names, **columns[name]}, schema=writer.schema))
    for writer in writers.values():
        writer.close()


def texts(rng: np.random.Generator, clips: int) -> tuple[list[list[str]], list[str]]:
    """References of clips, and a caption of each that takes words from them."""
    words = np.array([f"w{number}" for number in range(20_000)])
    lengths = rng.integers(6, 16, clips * REFERENCES)
    drawn = iter(words[np.minimum(rng.zipf(1.3, lengths.sum()), len(words)) - 1].tolist())
    flat = [" ".join(next(drawn) for _ in range(length)) for length in lengths.tolist()]
    references = [flat[start : start + REFERENCES] for start in range(0, len(flat), REFERENCES)]
    captions = [" ".join(own[0].split()[:5] + own[1].split()[-4:]) for own in references]
    return references, captions


def run(folder: Path, *options: str) -> tuple[float, float, float]:
    """Seconds, peak memory in megabytes, and seconds of processor time in a row of one `evaluate`."""
    with tempfile.TemporaryDirectory() as output:
        names = ["--results", folder / "predictions.parquet", "--references", folder / "references.parquet"]
        command = [sys.executable, "-m", "sonogloss.pipelines.command_line", "evaluate", *names, "--output", output]
        start = time.perf_counter()
        process = subprocess.Popen([*map(str, command), *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        used: dict[int, float] = {}
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            used |= {pid: processor_time(pid) or used.get(pid, 0.0) for pid in (process.pid, *below(process.pid))}
            time.sleep(0.1)
        if ended[1]:
            raise SystemExit(f"evaluate failed: {command}")
        in_a_row = used.pop(process.pid) + max(used.values(), default=0.0)
        return time.perf_counter() - start, ended[2].ru_maxrss / 1e3, in_a_row


def below(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    try:
        tasks = [(task / "children").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return []  # it has just ended
    found = [int(word) for words in tasks for word in words.split()]
    return found + [other for child in found for other in below(child)]


def processor_time(pid: int) -> float:
    """Seconds that a process has computed so far."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(folder: Path, sizes: Sequence[int]) -> Iterator[str]:
    """One process, corpora of several sizes; those that the folder has are not written again."""
    yield "| captions | seconds | captions a second | peak memory |\n|---|---|---|---|"
    for rows in sizes:
        if not (folder / str(rows)).exists():
            write_corpus(folder / str(rows), rows)
        seconds, megabytes, _ = run(folder / str(rows))
        yield f"| {rows:,} | {seconds:.0f} | {rows / seconds:,.0f} | {megabytes:,.0f} MB |"


def workers(folder: Path, rows: int) -> Iterator[str]:
    """One worker process and two."""
    if not (folder / str(rows)).exists():
        write_corpus(folder / str(rows), rows)
    one, two = (run(folder / str(rows), "--workers", str(count)) for count in (1, 2))
    yield f"{rows:,} captions: one worker {one[0]:.1f} s, two {two[0]:.1f} s, {one[0] / two[0]:.2f} times as fast"
    yield (
        f"processor time of the command and the worker that has most to do: {one[2]:.1f} s and {two[2]:.1f} s, "
        f"{one[2] / two[2]:.2f} times as fast on cores that are free"
    )


def join(folder: Path, rows: int) -> Iterator[str]:
    """Putting captions beside their references, by itself."""
    if not (folder / str(rows)).exists():
        write_corpus(folder / str(rows), rows)
    start = time.process_time()
    results, references = (str(folder / str(rows) / f"{name}.parquet") for name in ("predictions", "references"))
    with tempfile.TemporaryDirectory() as buckets:
        plan = spread_rows(read_results(results), buckets, results=results, references=references)
        spread = time.process_time() - start
        for bucket in plan.parts:
            join_bucket(bucket, plan)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    seconds = time.process_time() - start
    yield f"{rows:,} captions put beside references: {seconds:.0f} s, {spread:.0f} of them to spread, {peak:,.0f} MB"


def drawn_runs(captions: int, clips: int) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Captions that say nearly what one of their references says."""
    rng = np.random.default_rng(1)
    references, _ = texts(rng, clips)
    own = {str(n): references[n % clips] for n in range(captions)}
    shift = rng.integers(0, 3, captions).tolist()
    said = {str(n): " ".join(references[n % clips][s].split()[s:] + ["x"] * s) for n, s in enumerate(shift)}
    return said, own


def real_runs(data: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Of Whisper-based captioners, all in one."""
    runs = read_runs(data)
    captions = tokenize([caption for _, own, _ in runs for caption in own])
    references = [tokenize(texts) for _, _, own in runs for texts in own]
    return numbered([" ".join(words) for words in captions]), numbered(
        [[" ".join(words) for words in texts] for texts in references]
    )


def cider(said: dict[str, str], own: dict[str, list[str]]) -> Iterator[str]:
    """Beside pycocoevalcap."""
    start = time.perf_counter()
    value = evaluate(said, own, metrics=["cider_d"], tokenizer="whitespace").corpus[0].value
    ours = time.perf_counter() - start
    try:
        from pycocoevalcap.cider.cider import Cider
    except ImportError:
        yield f"{len(said):,} captions: {ours:.1f} s; pycocoevalcap is not here"
        return
    start = time.perf_counter()
    expected, _ = Cider().compute_score(own, {key: [text] for key, text in said.items()})
    theirs = time.perf_counter() - start
    difference = abs(float(expected) - value)
    yield (
        f"CIDEr-D of {len(said):,} captions: {ours:.1f} s, pycocoevalcap {theirs:.1f} s, {theirs / ours:.1f} times as "
        f"long; the values differ by {difference:.0e}"
    )


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("memory", "join", "workers", "cider"), default="memory")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--corpora", type=Path, help="where corpora are kept, by their rows (default: nowhere)")
    parser.add_argument("--data", type=Path, help="captions of real runs for `cider` (default: they are drawn)")
    parser.add_argument("--short", action="store_true", help="all parts, a few thousand captions each")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="evaluate-scale-") as name:
        folder = options.corpora or Path(name)
        parts = {
            "memory": lambda rows: memory(folder, [rows // 10, rows]),
            "join": lambda rows: join(folder, rows),
            "workers": lambda rows: workers(folder, rows),
            "cider": lambda rows: cider(
                *(real_runs(options.data) if options.data else drawn_runs(min(rows, 34_080), 1540))
            ),
        }
        for part in parts if options.short else [options.part]:
            for line in parts[part](4000 if options.short else options.rows):
                print(line, flush=True)


if __name__ == "__main__":
    main()
