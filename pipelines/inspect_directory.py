"""inspect: what is this directory, what made it, how many, from where?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rich.table import Table

from sonogloss import files
from sonogloss.errors import MissingInputError, StoreFormatError
from sonogloss.indexes import describe, read_manifest
from sonogloss.indexes.layout import FORMAT as DATASTORE
from sonogloss.indexes.layout import READS as DATASTORE_READS
from sonogloss.pipelines.config.datastores import InspectConfig
from sonogloss.pipelines.config.parser import command
from sonogloss.pipelines.running.terminal import plain_console
from sonogloss.transforms.commit_run import FORMAT, READS, read_parts, read_run
from sonogloss.transforms.skipped_files import SKIPPED

# The file that makes a directory what it is, by format.
MANIFESTS = {
    "sonogloss-datastore": "manifest.json",
    "sonogloss-captioner": "captioner.json",
    "sonogloss-label-prompts": "prompts.json",
    "sonogloss-results": "run.json",
}


def identify(directory: str) -> tuple[str, dict[str, Any]]:
    """The format of a directory that we wrote, and its manifest.

    Raises:
        MissingInputError: there is no such directory.
        StoreFormatError: it is none of ours, or unfinished, or of a version that this release does not read.
    """
    if not files.is_dir(directory):
        raise MissingInputError(f"The directory {directory!r} does not exist.", "Check the path.")
    for kind, name in MANIFESTS.items():
        path = files.join(directory, name)
        if not files.exists(path):
            continue
        manifest = files.read_json(path, error=StoreFormatError)
        if isinstance(manifest, dict) and manifest.get("format") == kind:
            reads = {FORMAT: READS, DATASTORE: DATASTORE_READS}.get(kind, (1,))
            if manifest.get("format_version") not in reads:
                raise StoreFormatError(
                    f"{path!r} has format_version {manifest.get('format_version')!r}, and this release reads "
                    f"{' and '.join(map(str, reads))}.",
                    "Install a release that reads it.",
                )
            return kind, manifest
    raise StoreFormatError(
        f"{directory!r} is no finished datastore, captioner, label prompts or results directory.",
        f"It would hold one of {', '.join(MANIFESTS.values())}, which are written last.",
    )


@command(InspectConfig)
def inspect(config: InspectConfig) -> dict[str, Any]:
    """Describe a directory that we wrote.

    Returns:
        The report: `directory`, `kind`, and `about`, one entry a line.

    Raises:
        MissingInputError: there is no such directory.
        StoreFormatError: it is none of these.
    """
    directory = str(config.directory)
    kind, manifest = identify(directory)
    if kind == "sonogloss-datastore":
        about = describe(read_manifest(directory))
    elif kind in ("sonogloss-captioner", "sonogloss-label-prompts"):
        about = {key: value for key, value in manifest.items() if key != "files"}
        about["bytes"] = sum(entry["bytes"] for entry in manifest["files"])
    else:
        about = {key: value for key, value in manifest.items() if key not in ("parts", "manifest")}
        parts = read_parts(directory, read_run(directory) or manifest)
        about["part_files"] = len(parts)
        about["skipped_listed"] = sum(part["rows"] for part in parts if part["path"].startswith(f"{SKIPPED}/"))
        about["bytes"] = sum(part["bytes"] for part in parts)
    return {"directory": directory, "kind": kind, "about": about, "problems": []}


def show(report: dict[str, Any]) -> None:
    """Print the report for a person."""
    rows = Table(show_header=False, title=f"{report['directory']}: {report['kind']}")
    rows.add_column(no_wrap=True)
    rows.add_column(overflow="fold")
    for name, value in _lines(report["about"]):
        rows.add_row(name, value)
    plain_console().print(rows)


def _lines(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Nested entries as one line each: `counts.inputs`, `24`."""
    if isinstance(value, Mapping) and value:
        return [line for key, inner in value.items() for line in _lines(inner, f"{name}.{key}" if name else str(key))]
    return [(name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))]
