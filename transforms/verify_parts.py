"""verify_parts: ranges of the parts of a run -> what is wrong with their files, their rows, and which clips they hold.

What a range shows lies in a file of its own, so it does not matter which worker looked. Clips are known by hashes, of
which some are compared at a time.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from sonogloss import files
from sonogloss.in_parallel import in_parallel
from sonogloss.records import CAPTION_ROW_SCHEMA, FIRST_DEAD_LETTER_SCHEMA, LABEL_ROW_SCHEMA, SKIPPED_SCHEMA
from sonogloss.retries import retried
from sonogloss.transforms.commit_run import read_parts
from sonogloss.transforms.part_files import KINDS
from sonogloss.transforms.progress_file import note
from sonogloss.transforms.skipped_files import SKIPPED

PARTS_A_RANGE = 256
CLIPS_A_PASS = 1 << 22
"""So many clips are compared at once."""
_FINDINGS = b"sonogloss.findings"
# The columns of a results directory's folders. A run has captions or labels, and its counts say which.
_SCHEMAS = {
    "captions": CAPTION_ROW_SCHEMA,
    "labels": LABEL_ROW_SCHEMA,
    "dead_letters": FIRST_DEAD_LETTER_SCHEMA,
    SKIPPED: SKIPPED_SCHEMA,
}

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, kw_only=True)
class VerificationPlan:
    """What is looked at.

    Attributes:
        folder: where findings are written.
        output: the results directory.
        sizes: parts in each range.
        step: of so many parts one is read.
    """

    folder: str
    output: str
    sizes: tuple[int, ...]
    step: int

    @property
    def parts(self) -> range:
        """The number of each range."""
        return range(len(self.sizes))

    def path(self, number: int) -> str:
        """Of the findings of a range."""
        return files.join(self.folder, f"findings-{number:06d}.parquet")


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What parts show: a sentence a problem, rows by folder, and a hash of each clip id."""

    problems: list[str]
    rows: Mapping[str, int]
    clips: Hashes


def plan_verification(folder: str, output: str, parts: int, sample: int | None) -> VerificationPlan:
    """Cut the parts of a run into ranges; of all of them `sample` are read, or all."""
    sizes = [min(PARTS_A_RANGE, parts - start) for start in range(0, parts, PARTS_A_RANGE)]
    return VerificationPlan(
        folder=folder, output=output, sizes=tuple(sizes), step=max(1, parts // (sample or parts or 1))
    )


def verify_range(number: int, plan: VerificationPlan, progress: str | None = None) -> int:
    """Look at the files of a range, and write what they show."""
    start = number * PARTS_A_RANGE
    run = files.read_json(files.join(plan.output, "run.json"))
    parts = read_parts(plan.output, run)[start : start + PARTS_A_RANGE]
    rows: Counter[str] = Counter()
    problems: list[str] = []
    clips = [np.zeros(0, np.uint64)]
    read = []
    for place, part in enumerate(parts, start):
        if place % plan.step:
            rows[_folder(part)] += part["rows"]
        else:
            read.append(part)
    for part, found in zip(read, in_parallel(partial(_look, plan.output), read, place=plan.output), strict=True):
        problems += found.problems
        rows.update(found.rows)
        clips.append(found.clips)
        note(progress, done=part["rows"])
    said = json.dumps({"problems": problems, "rows": rows}).encode()
    content = pa.table({"clip": np.concatenate(clips)}).replace_schema_metadata({_FINDINGS: said})
    files.write_table(plan.path(number), content)
    note(progress, done=0, units=1)
    return number


def _look(output: str, part: Mapping[str, Any]) -> Findings:
    clips = np.zeros(0, np.uint64)
    if problem := files.file_problem(output, part):
        return Findings(problems=[problem], rows={}, clips=clips)
    path, folder = part["path"], _folder(part)
    expected = _SCHEMAS[folder]
    problems = []
    try:
        schema, content = _read(files.join(output, path), expected.names[0])
    except (OSError, pa.ArrowException) as error:
        problem = f"{path} is not a Parquet file with our columns ({error})."
        return Findings(problems=[problem], rows={}, clips=clips)
    if schema.names[: len(expected.names)] != expected.names:
        problems.append(f"{path} does not have the columns of {folder}.")
    if content.num_rows != part["rows"]:
        problems.append(f"{path} holds {content.num_rows} rows instead of {part['rows']}.")
    if folder in KINDS:
        clips = hashes(content.column("clip_id").to_pylist())
    return Findings(problems=problems, rows={folder: content.num_rows}, clips=clips)


@retried
def _read(path: str, column: str) -> tuple[pa.Schema, pa.Table]:
    with files.open_read(path) as handle:
        schema = pq.read_schema(handle)
        handle.seek(0)
        return schema, pq.read_table(handle, columns=[column])


def _folder(part: Mapping[str, Any]) -> str:
    return str(part["path"]).partition("/")[0]


def hashes(names: list[str]) -> Hashes:
    """64 bits of the digest of each name."""
    found = b"".join(hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
    return np.frombuffer(found, np.uint64)


def read_findings(plan: VerificationPlan) -> tuple[list[str], dict[str, int]]:
    """What all ranges show: a sentence a problem, and rows by folder."""
    rows: Counter[str] = Counter()
    problems: list[str] = []
    for number in plan.parts:
        said = json.loads(files.read_table(plan.path(number), columns=[]).schema.metadata[_FINDINGS])
        problems += said["problems"]
        rows.update(said["rows"])
    return problems, rows


def repeated_clips(plan: VerificationPlan, run: dict[str, Any], rows: int) -> tuple[int, str]:
    """How many clips have several rows, and the id of one of them.

    A hash does not say the id, so files are read again.

    Args:
        plan: whose findings are there.
        run: the content of `run.json`.
        rows: how many clips there are; so many passes are made that memory does not grow with them.
    """
    passes = np.uint64(-(-max(rows, 1) // CLIPS_A_PASS))
    found = [_repeated(plan, passes, np.uint64(number)) for number in range(int(passes))]
    twice = np.concatenate(found)
    for part in read_parts(plan.output, run) if len(twice) else ():
        if _folder(part) in KINDS:
            with suppress(OSError, pa.ArrowException):  # what cannot be read has been named
                content = files.read_table(files.join(plan.output, part["path"]), columns=["clip_id"])
                names = content.column("clip_id").to_pylist()
                if (again := np.isin(hashes(names), twice)).any():
                    return len(twice), names[int(again.argmax())]
    return 0, ""


def _repeated(plan: VerificationPlan, passes: np.uint64, number: np.uint64) -> Hashes:
    """Of the hashes with this remainder those that are there twice."""
    held = [np.zeros(0, np.uint64)]
    for part in plan.parts:
        clips = files.read_table(plan.path(part)).column("clip").to_numpy()
        held.append(clips[clips % passes == number])
    ordered = np.sort(np.concatenate(held))
    return np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
