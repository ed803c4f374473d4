"""Millions of listed sources: what the driver holds, what a commit is handed, how long planning takes.

Names only: the listing is made up, and the reader gives one clip a source without opening anything.

    python -m benchmarks.many_sources [--short] [--count N]
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

SOURCES, SHORT = 1_000_000, 50_000
PHASES = ("begin", "store", "plan", "write", "resume", "grown", "changed", "verify")


def listing(count: int, version: int = 1) -> Iterator[Any]:
    """Names of sixty characters, as an archive has them."""
    from sonogloss.sources import Source

    for number in range(count):
        name = f"/archive/recordings/{number % 997:03d}/station-{number % 89:02d}/{number:012d}.flac"
        yield Source(
            uri=name, bytes=480_000 + number % 1000, version=f"{number}-{version}7645{number:010d}", container="file"
        )


def store_listing(folders: int) -> dict[str, Any]:
    """A walk of a store of so many folders, which answers within 100 ms with the thousand names of one."""
    import fsspec

    from sonogloss.sources import SourceTable, list_sources

    class Store(fsspec.AbstractFileSystem):  # type: ignore[misc]  # untyped
        protocol = "slow"

        def info(self, path: str, **options: Any) -> dict[str, Any]:
            return {"name": path, "type": "directory", "size": 0}

        def ls(self, path: str, detail: bool = True, **options: Any) -> list[dict[str, Any]]:
            time.sleep(0.1)
            if path.strip("/") == "bucket":
                return [{"name": f"bucket/{number:05d}", "type": "directory", "size": 0} for number in range(folders)]
            names = (f"{path}/{number:012d}.flac" for number in range(1000))
            return [{"name": name, "type": "file", "size": 480_000, "generation": "1764500000"} for name in names]

    fsspec.register_implementation("slow", f"{__name__}.Store")  # it is known by its name,
    fsspec.register_implementation("slow", Store, clobber=True)  # and needs no import
    start = _now()
    found = SourceTable.of(source for source in list_sources(["slow://bucket"])).in_order()  # type: ignore[misc]
    return {**_since("list", start), "names": len(found)}


def write(output: str, plan: Any) -> list[Any]:
    """What the workers leave of the pending units."""
    from sonogloss.records import Clip, Context
    from sonogloss.sources import source_key
    from sonogloss.transforms.work import Batch, DoneSource
    from sonogloss.transforms.write_rows import CaptionRows, UnitWriter

    writer = UnitWriter(output, configuration="c", kind=CaptionRows(method="m"))
    nothing, context = np.zeros(0, np.float32), (Context(id=1, text="a dog barks", score=0.5, source="s"),)
    results = []
    for unit in plan.pending:
        clips = [
            Clip(
                clip_id=f"{source_key(source)[:16]}", uri=source.uri, member=None, start_s=0.0, end_s=10.0,
                duration_s=10.0, sample_rate=48000, channels=1, audio_sha256="0" * 64, samples=nothing,
            )
            for source in unit.sources
        ]  # fmt: skip
        done = [DoneSource(key=source_key(source), uri=source.uri) for source in unit.sources]
        result = writer.add(
            Batch(
                unit=unit.id, number=0, last=True, inputs=len(clips), sources=tuple(done), clips=tuple(clips),
                contexts=(context,) * len(clips), captions=("a dog barks",) * len(clips), scores=(0.5,) * len(clips),
            )
        )  # fmt: skip
        results.append(result)
    return results


def phase(name: str, output: str, count: int) -> dict[str, Any]:
    """One phase of a job, in a process of its own."""
    from sonogloss import files
    from sonogloss.pipelines.running import audio_job  # all that a driver imports
    from sonogloss.pipelines.running.ownership import survey
    from sonogloss.pipelines.running.resume import plan_units
    from sonogloss.pipelines.verify_directory import verify
    from sonogloss.sources import SourceTable
    from sonogloss.transforms.stopwatch import Stopwatch
    from sonogloss.transforms.work import cut_units
    from sonogloss.transforms.work_files import commit_work, write_work

    found: dict[str, Any] = {"imported_mb": _peak_mb()}
    if name == "begin":
        return found
    if name == "store":
        return found | store_listing(count // 1000)
    start = _now()
    if name == "verify":
        problems = verify(directory=output)["problems"]
        return {**_since("verify", start), "problems": len(problems)}
    more = count // 100 if name == "grown" else 0
    table = SourceTable.of(listing(count + more, 1 + (name == "changed"))).in_order()
    found |= _since("list", start)
    start = _now()
    survey(output, kind="captions", units=lambda: (unit.id for unit in cut_units(table)))
    plan = plan_units(output, table, configuration="c", begin_anew=False)
    found |= {**_since("plan", start), "pending": sum(len(unit.sources) for unit in plan.pending)}
    if name == "write":
        head = {"head": {"configuration": {"digest": "c"}}, "skipped": {}, "skipped_parts": []}
        folder = write_work(output, units=plan.pending, completed=plan.completed, rewrites=plan.rewrites, head=head)
        results = write(output, plan)
        found["element_bytes"] = len(pickle.dumps(results))
        start = _now()
        commit_work(results, folder=folder, output=output, started=Stopwatch(), rows="captions", progress=None)
        found |= {**_since("commit", start), "run_json_bytes": files.size(f"{output}/run.json")}
    elif name != "resume":
        write_work(f"{output}-{name}", units=plan.pending, completed=plan.completed, rewrites=plan.rewrites, head={})
    assert audio_job is not None
    return found | {"finished": plan.finished}


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _since(what: str, start: tuple[float, float]) -> dict[str, float]:
    """Seconds by the clock, and of the processor, which other programs delay less."""
    wall, processor = _now()
    return {f"{what}_s": wall - start[0], f"{what}_cpu_s": processor - start[1]}


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print the numbers of every phase."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help=f"{SHORT:,} sources")
    parser.add_argument("--count", type=int, default=SOURCES, help="sources")
    parser.add_argument("--phase", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.phase is not None:
        name, output, count = arguments.phase
        found = phase(name, output, int(count))
        print(json.dumps({**found, "peak_mb": _peak_mb()}))
        return
    count = SHORT if arguments.short else arguments.count
    print(f"{count:,} sources, Python {sys.version.split()[0]}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        for name in PHASES:
            words = [sys.executable, __file__, "--phase", name, str(Path(folder) / "results"), str(count)]
            said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
            numbers = json.loads(said.splitlines()[-1])
            print(f"{name:7}", "  ".join(f"{key} {value:,.1f}" for key, value in numbers.items()), flush=True)


if __name__ == "__main__":
    main()
