"""Jobs without models: clips are invented, and what a job does with units, part files and commits is real."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sonogloss import files
from sonogloss.pipelines.running.resume import UnitPlan, plan_units
from sonogloss.pipelines.verify_directory import verify
from sonogloss.records import Clip, Context, DeadLetter, clip_id
from sonogloss.sources import Source, source_key
from sonogloss.transforms.commit_run import commit_run
from sonogloss.transforms.part_files import KIND_KEY, SOURCES_KEY
from sonogloss.transforms.stopwatch import Stopwatch
from sonogloss.transforms.work import Batch, DoneSource, Unit
from sonogloss.transforms.write_rows import CaptionRows, UnitWriter

CONTEXT = Context(id=1, text="rain", score=0.5, source="s")


class KilledError(Exception):
    """The process ended here."""


@dataclass
class Fuse:
    """Lets so many files be written or removed, then kills; None never does."""

    left: int | None

    def burn(self) -> None:
        if self.left is not None:
            if self.left == 0:
                raise KilledError
            self.left -= 1


def recording(number: int, version: int = 1) -> Source:
    return Source(uri=f"/a/{number:03d}.wav", bytes=100, version=str(version))


def clips(source: Source) -> list[Clip]:
    """As many clips as the number says, none for every fifth recording; the sound tells the version."""
    count = int(source.uri[3:6]) % 5
    return [
        Clip(
            clip_id=clip_id(source.uri, source.member, float(start), start + 1.0),
            uri=source.uri,
            member=source.member,
            start_s=float(start),
            end_s=start + 1.0,
            duration_s=5.0,
            sample_rate=32000,
            channels=1,
            samples=np.zeros(1, np.float32),
            audio_sha256=str(source.version),
        )
        for start in range(count)
    ]


def batch_of(unit: Unit, refused: Container[str] = ()) -> Batch:
    """All clips of a unit; recordings that are refused have none for now."""
    found = [clip for source in unit.sources if source.uri not in refused for clip in clips(source)]
    dead = [
        DeadLetter(clip_id=None, uri=source.uri, member=None, stage="read_audio", code=code, message="Nothing.")
        for source in unit.sources
        for code in ("READ_ERROR" if source.uri in refused else "EMPTY",)
        if source.uri in refused or not clips(source)
    ]
    return Batch(
        unit=unit.id,
        number=0,
        last=True,
        inputs=len(found) + len(dead),
        sources=tuple(DoneSource(key=source_key(source), uri=source.uri) for source in unit.sources),
        clips=tuple(found),
        dead=tuple(dead),
        contexts=((CONTEXT,),) * len(found),
        captions=tuple(f"{clip.clip_id} {clip.audio_sha256}" for clip in found),
        scores=(0.5,) * len(found),
    )


def run_job(
    output: Path,
    sources: list[Source],
    fuse: Fuse | None = None,
    *,
    refused: Container[str] = (),
    retry: bool = False,
) -> UnitPlan:
    """What the audio job does, without audio."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        for name in ("atomic_write", "remove"):
            real = getattr(files, name)
            patch.setattr(
                files, name, lambda path, real=real, **options: ((fuse or Fuse(None)).burn(), real(path, **options))[1]
            )
        plan = plan_units(str(output), sources, configuration="c", begin_anew=False, retry=retry)
        if plan.finished:
            return plan
        for name in plan.remove:
            files.remove(files.join(str(output), name))
        writer = UnitWriter(str(output), configuration="c", kind=CaptionRows(method="m"), rows_a_part=7)
        results = [result for unit in plan.pending if (result := writer.add(batch_of(unit, refused)))]
        head = {"configuration": {"digest": "c"}}
        commit_run(
            [*plan.completed, *results], output=str(output), head=head, started=Stopwatch(), rewrites=plan.rewrites
        )
    return plan


def rows_in(output: Path, folder: str = "captions") -> list[dict[str, Any]]:
    """All rows that somebody who reads the folder finds, sorted."""
    found = [row for path in (output / folder).glob("*.parquet") for row in pq.read_table(path).to_pylist()]
    return sorted(found, key=lambda row: (row["uri"], row.get("start_s", 0)))


def assert_complete(output: Path, sources: list[Source], kept: list[Source], fresh: Path) -> None:
    """The rows are those of a fresh run over what is there and what has vanished, each once."""
    shutil.rmtree(fresh, ignore_errors=True)
    run_job(fresh, sorted([*sources, *kept], key=lambda source: source.uri))
    assert rows_in(output) == rows_in(fresh)
    assert rows_in(output, "dead_letters") == rows_in(fresh, "dead_letters")
    assert verify(directory=str(output))["problems"] == []


def without_later_columns(output: Path) -> None:
    """Turn part files into what a release wrote that knew fewer columns; `run.json` names them as they are now."""
    later = {"captions": ["source_id", "extra"]}
    for path in output.rglob("*.parquet"):
        names = later.get(path.parent.name) or ["retryable", "start_s", "end_s", "source_id", "extra"]
        pq.write_table(pq.read_table(path).drop_columns(names), path, compression="zstd")
    run = json.loads((output / "run.json").read_text())
    for part in run["parts"]:
        part |= files.file_entry(str(output), part["path"])
    (output / "run.json").write_text(json.dumps(run))


def schemas(output: Path) -> dict[str, set[pa.Schema]]:
    """The schemas of the files of each folder, without metadata."""
    return {
        folder: {pq.read_schema(path).remove_metadata() for path in (output / folder).glob("*.parquet")}
        for folder in ("captions", "dead_letters")
    }


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def as_format_1(output: Path) -> None:
    """Turn results into what the first release wrote."""
    without_later_columns(output)
    run = json.loads((output / "run.json").read_text())
    run["format_version"] = 1
    for path in output.rglob("*.parquet"):
        content = pq.read_table(path)
        said = {key: value for key, value in content.schema.metadata.items() if key not in (KIND_KEY, SOURCES_KEY)}
        pq.write_table(content.replace_schema_metadata(said), path, compression="zstd")
    for part in run["parts"]:
        del part["sources"]
        part |= files.file_entry(str(output), part["path"])
    (output / "run.json").write_text(json.dumps(run))
