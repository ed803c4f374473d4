"""verify: recompute every digest and count of a directory that we wrote; name what is wrong."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sonogloss import files
from sonogloss.errors import FormatError
from sonogloss.indexes import verify as verify_datastore
from sonogloss.methods import verify_captioner
from sonogloss.pipelines.config.datastores import VerifyConfig
from sonogloss.pipelines.config.parser import command
from sonogloss.pipelines.inspect_directory import MANIFESTS, identify
from sonogloss.pipelines.running.terminal import plain_console
from sonogloss.records import CAPTION_ROW_SCHEMA, FIRST_DEAD_LETTER_SCHEMA, LABEL_ROW_SCHEMA, SKIPPED_SCHEMA
from sonogloss.transforms.commit_run import read_parts
from sonogloss.transforms.skipped_files import MOST_LISTED, SKIPPED

# The columns of a results directory's folders. A run has captions or labels, and its counts say which.
_SCHEMAS = {
    "captions": CAPTION_ROW_SCHEMA,
    "labels": LABEL_ROW_SCHEMA,
    "dead_letters": FIRST_DEAD_LETTER_SCHEMA,
    SKIPPED: SKIPPED_SCHEMA,
}


@command(VerifyConfig)
def verify(config: VerifyConfig) -> dict[str, Any]:
    """Check a directory that we wrote.

    Returns:
        The report: `directory`, `kind`, `problems`, one sentence each; empty when all is well.

    Raises:
        MissingInputError: there is no such directory.
        StoreFormatError: it is none of these, or unfinished.
    """
    directory = str(config.directory)
    if damaged := _damaged_manifest(directory):
        kind, name = damaged
        return {"directory": directory, "kind": kind, "problems": [f"{name} is not JSON; it is damaged."]}
    kind, manifest = identify(directory)
    if kind == "sonogloss-datastore":
        problems = verify_datastore(directory)
    elif kind == "sonogloss-captioner":
        problems = verify_captioner(directory)
    elif kind == "sonogloss-label-prompts":
        # Here and not above: it stands on torch, which the others do not need.
        from sonogloss.tagging.label_prompts import verify_label_prompts

        problems = verify_label_prompts(directory, manifest)
    elif kind == "sonogloss-metrics":
        tables = (f"metrics/{name}.parquet" for name in ("clips", "corpus"))
        problems = [f"{name} is missing." for name in tables if not files.exists(files.join(directory, name))]
    else:
        problems = _verify_results(directory, manifest, config.sample)
    return {"directory": directory, "kind": kind, "problems": problems}


def _damaged_manifest(directory: str) -> tuple[str, str] | None:
    """The kind and the name of a manifest that cannot be read: of a directory that once was ours, and is unsound."""
    for kind, name in MANIFESTS.items():
        path = files.join(directory, name)
        if files.exists(path):
            try:
                files.read_json(path)
            except FormatError:
                return kind, name
    return None


def _verify_results(directory: str, run: dict[str, Any], sample: int | None) -> list[str]:
    lacking = [] if {"parts", "manifest"} & run.keys() else ["parts"]
    if lacking := sorted({*lacking, *({"counts"} - run.keys())}):
        return [f"run.json lacks {' and '.join(lacking)}."]
    try:
        if problems := [text for entry in run.get("manifest", []) if (text := files.file_problem(directory, entry))]:
            return problems
        return _verify_parts(directory, run, sample)
    except (KeyError, TypeError, AttributeError) as error:
        return [f"run.json has an entry missing or malformed ({error!r})."]


def _verify_parts(directory: str, run: dict[str, Any], sample: int | None) -> list[str]:
    problems = []
    rows: Counter[str] = Counter()
    ids: Counter[str] = Counter()
    counts = run["counts"]
    folders = ("labels" if "labels" in counts else "captions", "dead_letters")
    parts = read_parts(directory, run)
    step = max(1, len(parts) // (sample or len(parts) or 1))
    for number, part in enumerate(parts):
        if number % step:
            rows[part["path"].partition("/")[0]] += part["rows"]
            continue
        if problem := files.file_problem(directory, part):
            problems.append(problem)
            continue
        folder = part["path"].partition("/")[0]
        expected = _SCHEMAS[folder]
        try:
            with files.open_read(files.join(directory, part["path"])) as handle:
                schema = pq.read_schema(handle)
                handle.seek(0)
                content = pq.read_table(handle, columns=[expected.names[0]])
        except (OSError, pa.ArrowException) as error:
            problems.append(f"{part['path']} is not a Parquet file with our columns ({error}).")
            continue
        if schema.names[: len(expected.names)] != expected.names:
            problems.append(f"{part['path']} does not have the columns of {folder}.")
        if content.num_rows != part["rows"]:
            problems.append(f"{part['path']} holds {content.num_rows} rows instead of {part['rows']}.")
        rows[folder] += content.num_rows
        if folder == folders[0]:
            ids.update(content.column("clip_id").to_pylist())
    if not problems:
        problems += [
            f"There are {rows[folder]} {folder} rows, but run.json counts {counts[folder]}."
            for folder in folders
            if rows[folder] != counts[folder]
        ]
        # Earlier releases counted what they left out and did not list it. Silent windows are never listed.
        left_out = counts["skipped"] - run.get("skipped_codes", {}).get("SILENT", 0)
        if rows[SKIPPED] not in (0, min(left_out, MOST_LISTED)):
            problems.append(f"{rows[SKIPPED]} skipped files are listed, but run.json counts {left_out}.")
    if counts["inputs"] != counts[folders[0]] + counts["dead_letters"] + counts["skipped"]:
        problems.append(f"The counts do not add up: {counts}.")
    if repeated := [clip for clip, count in ids.items() if count > 1]:
        problems.append(f"{len(repeated)} clips have several rows, {repeated[0]} among them.")
    named = {part["path"] for part in parts}
    for folder in (*folders, SKIPPED):
        for path in files.list_dir(files.join(directory, folder), ".parquet"):
            if (name := f"{folder}/{files.base_name(path)}") not in named:
                problems.append(f"{name} is not named in run.json; whoever reads the folder reads rows too many.")
    return problems


def show(report: dict[str, Any]) -> None:
    """Print the report for a person; the command line prints the problems."""
    if not report["problems"]:
        plain_console().print(f"{report['directory']}: every file of this {report['kind']} is as it was written.")
