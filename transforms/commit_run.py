"""commit_run: when every part is written, `run.json` names them, and the directory is finished.

The parts are listed in `run.json`, or, when there are many, in `manifest/part-*.parquet`, which `run.json` then names.
Whoever wants to know the parts asks :func:`read_parts`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from sonogloss import __version__, files
from sonogloss.errors import OutputError, StoreFormatError
from sonogloss.transforms.part_files import DEAD_LETTERS, KINDS, write_again
from sonogloss.transforms.progress_file import failure_noted
from sonogloss.transforms.skipped_files import SKIPPED
from sonogloss.transforms.stopwatch import Stopwatch
from sonogloss.transforms.work import UnitResult, sum_counts

RUN_FILE = "run.json"
FORMAT = "sonogloss-results"
FORMAT_VERSION = 2
READS = (1, 2)
MANIFEST = "manifest"
FOLDERS = (*KINDS, DEAD_LETTERS, SKIPPED, MANIFEST)
INLINE_PARTS = 400
PARTS_A_MANIFEST = 100_000

_MANIFEST_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("sources", pa.int64()),
    ],
    metadata={"sonogloss.manifest": "1"},
)


@dataclass(frozen=True, kw_only=True)
class Rewrite:
    """Units on disk that go on as one, without the rows of some recordings.

    Attributes:
        units: what is on disk.
        drop: uri and member of the recordings whose rows go; None for all, and nothing is written again.
    """

    units: tuple[UnitResult, ...]
    drop: frozenset[tuple[str, str | None]] | None = frozenset()


def commit_run(
    results: Iterable[UnitResult],
    *,
    output: str,
    head: dict[str, Any],
    started: Stopwatch,
    rows: str = "captions",
    rewrites: Sequence[Rewrite] = (),
    skipped: Mapping[str, int] | None = None,
    skipped_parts: Sequence[Mapping[str, Any]] = (),
    progress: str | None = None,
) -> dict[str, Any]:
    """Write `run.json`, last, and remove the parts that it replaces.

    Args:
        results: what the units left on disk, in any order.
        output: the results directory.
        head: configuration, fingerprints and what else the driver knows.
        started: when the job began.
        rows: what the rows are, `captions` or `labels`: the folder they lie in and the name they are counted by.
        rewrites: units that are written again: some of their rows are replaced by those of the results, or they came
            from an earlier release, or were small.
        skipped: how many files were left out, by reason.
        skipped_parts: the entries of the lists of them.
        progress: a local file, beside which a failure is noted.

    Returns:
        The content of `run.json`.

    Raises:
        OutputError: part files that were written are no longer there.
    """
    with failure_noted(progress):
        results = [*results, *_written_again(output, rewrites, head, rows)]
        results.sort(key=lambda result: result.unit)
        parts = [{**asdict(part), "sources": result.sources} for result in results for part in result.parts]
        parts = sorted([*parts, *map(dict, skipped_parts)], key=lambda part: part["path"])
        _check_there(output, [part["path"] for part in parts], (rows, DEAD_LETTERS, SKIPPED))
        before = set(_listings(output))
        run = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "created_by": f"sonogloss {__version__}",
            **_counted(results, rows, skipped or {}),
            **head,
            "ran_on": sum_counts({result.device: 1} for result in results if result.device),
            "wall_time_s": round(started.seconds(), 3),
            "stage_times_s": {
                step: round(seconds, 3) for step, seconds in sum_counts(result.seconds for result in results).items()
            },
            **_list_parts(output, parts),
        }
        files.write_json(files.join(output, RUN_FILE), run)
        named = {part["path"] for part in [*parts, *run.get("manifest", [])]}
        replaced = {part.path for rewrite in rewrites for unit in rewrite.units for part in unit.parts} | before
        for name in sorted(replaced - named):
            files.remove(files.join(output, name))
        return run


def _written_again(
    output: str, rewrites: Iterable[Rewrite], head: Mapping[str, Any], rows: str
) -> Iterator[UnitResult]:
    """What is left of units whose rows are partly replaced."""
    for rewrite in rewrites:
        if rewrite.drop is None:
            continue
        digest = head["configuration"]["digest"]
        left = write_again(output, rewrite.units, rewrite.drop, configuration=digest, kind=rows)
        if left is not None:
            yield left


def _counted(results: Sequence[UnitResult], rows: str, skipped: Mapping[str, int]) -> dict[str, Any]:
    """How many of what there are."""
    silent = sum(result.silent for result in results)
    left_out = dict(sorted({**skipped, **({"SILENT": silent} if silent else {})}.items()))
    return {
        "counts": {
            "inputs": sum(result.inputs for result in results) + sum(skipped.values()),
            rows: sum(result.rows for result in results),
            "dead_letters": sum(result.dead_letters for result in results),
            "skipped": sum(left_out.values()),
        },
        "skipped_codes": left_out,
        "dead_letter_codes": sum_counts(result.codes for result in results),
    }


def _check_there(output: str, names: Sequence[str], folders: Iterable[str]) -> None:
    there = {
        f"{folder}/{files.base_name(path)}" for folder in folders for path in files.list_dir(files.join(output, folder))
    }
    if gone := [name for name in names if name not in there]:
        raise OutputError(
            f"{len(gone):,} part files of --output {output!r} were removed while the job ran ({gone[0]!r}).",
            "Run the same command again, and leave the directory alone.",
        )


def _list_parts(output: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The entry of `run.json` that names the parts; manifests are called by their content, so none is replaced."""
    if len(parts) <= INLINE_PARTS:
        return {"parts": parts}
    manifests = []
    for start in range(0, len(parts), PARTS_A_MANIFEST):
        some = parts[start : start + PARTS_A_MANIFEST]
        name = f"{MANIFEST}/part-{hashlib.sha256(repr(some).encode()).hexdigest()[:16]}.parquet"
        files.write_table(files.join(output, name), pa.Table.from_pylist(some, _MANIFEST_SCHEMA))
        manifests.append({**files.file_entry(output, name), "rows": len(some)})
    return {"manifest": manifests}


def _listings(output: str) -> list[str]:
    """Names of the manifests and of the lists of skipped files of the run that is committed."""
    path = files.join(output, RUN_FILE)
    run = files.read_json(path, error=StoreFormatError) if files.exists(path) else {}
    return [entry["path"] for entry in [*run.get("manifest", []), *read_parts(output, run, SKIPPED)]]


def read_run(output: str) -> dict[str, Any] | None:
    """The content of `run.json`; None when there is none.

    Raises:
        StoreFormatError: it is damaged, not ours, or of a format that this release does not read.
    """
    path = files.join(output, RUN_FILE)
    if not files.exists(path):
        return None
    run = files.read_json(path, error=StoreFormatError)
    if not isinstance(run, dict) or run.get("format") != FORMAT:
        raise StoreFormatError(f"{path!r} was not written by us.", "Name another directory.")
    if run.get("format_version") not in READS:
        raise StoreFormatError(
            f"{path!r} has format_version {run.get('format_version')!r}, and this release reads 1 and 2.",
            "Install a release that reads it.",
        )
    if damaged := _damaged_entry(run):
        raise StoreFormatError(
            f"{path!r} is damaged: its entry {damaged!r} is missing or malformed.",
            "Restore the file, or name another directory.",
        )
    return run


def _damaged_entry(run: dict[str, Any]) -> str | None:
    """The first entry that is not as :func:`commit_run` writes it, of those that reading or resuming relies on."""
    counts = run.get("counts")
    if not isinstance(counts, dict) or not all(isinstance(count, int) for count in counts.values()):
        return "counts"
    if not isinstance(run.get("configuration", {}), dict):
        return "configuration"
    for name in {"parts", "manifest"} & run.keys() or {"parts"}:
        entries = run.get(name)
        if not isinstance(entries, list) or not all(map(_names_a_part, entries)):
            return name
    return None


def _names_a_part(entry: Any) -> bool:
    """Is this the entry of a file in one of our folders? A path that leads elsewhere must never be read or removed."""
    kinds = {"path": str, "bytes": int, "sha256": str, "rows": int}
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key), kind) for key, kind in kinds.items()):
        return False
    folder, _, name = entry["path"].partition("/")
    return folder in FOLDERS and "/" not in name


def read_parts(output: str, run: dict[str, Any], folder: str | None = None) -> list[dict[str, Any]]:
    """The parts of a run: `path`, `bytes`, `sha256`, `rows` and, since format 2, `sources`.

    Args:
        output: the results directory.
        run: the content of its `run.json`.
        folder: only those of `captions`, `labels`, `dead_letters` or `skipped`.

    Raises:
        StoreFormatError: a manifest is missing or damaged.
    """
    parts = run.get("parts", [])
    for entry in run.get("manifest", []):
        try:
            parts = parts + files.read_table(files.join(output, entry["path"])).to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise StoreFormatError(
                f"{entry['path']!r} cannot be read ({error}).", "Run the same command again."
            ) from error
    return [part for part in parts if folder is None or part["path"].startswith(f"{folder}/")]
