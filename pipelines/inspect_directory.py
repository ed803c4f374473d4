"""inspect: what is this directory or page, what made it, how many, from where?"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from typing import Any

from rich.table import Table

from sonogloss import files
from sonogloss.errors import MissingInputError, StoreFormatError
from sonogloss.indexes import describe, read_manifest
from sonogloss.indexes.layout import FORMAT as DATASTORE
from sonogloss.indexes.layout import READS as DATASTORE_READS
from sonogloss.page import GENERATOR
from sonogloss.pipelines.config.datastores import InspectConfig
from sonogloss.pipelines.config.parser import command
from sonogloss.pipelines.running.metrics_record import METRICS_FILE
from sonogloss.pipelines.running.terminal import plain_console
from sonogloss.transforms.commit_run import FORMAT, READS, read_parts, read_run
from sonogloss.transforms.skipped_files import SKIPPED

# The file that makes a directory what it is, by format.
MANIFESTS = {
    "sonogloss-datastore": "manifest.json",
    "sonogloss-captioner": "captioner.json",
    "sonogloss-label-prompts": "prompts.json",
    "sonogloss-results": "run.json",
    "sonogloss-metrics": METRICS_FILE,
}
PAGE = "sonogloss-report"


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
        f"{directory!r} is no finished datastore, captioner, label prompts, results or metrics directory.",
        f"It would hold one of {', '.join(MANIFESTS.values())}, which are written last.",
    )


@command(InspectConfig)
def inspect(config: InspectConfig) -> dict[str, Any]:
    """Describe a directory that we wrote, or a page of `report`.

    Returns:
        The report: `directory`, `kind`, `facts` (what one wants to know first, by name), and `about`, one entry a line.

    Raises:
        MissingInputError: there is no such directory.
        StoreFormatError: it is none of these.
    """
    directory = str(config.directory)
    if (title := page_title(directory)) is not None:
        facts = {"page": title, "bytes": f"{files.size(directory):,}", "look": "open it in a browser"}
        return {"directory": directory, "kind": PAGE, "facts": facts, "about": {}, "problems": []}
    kind, manifest = identify(directory)
    if kind == "sonogloss-datastore":
        about = describe(read_manifest(directory))
    elif kind == "sonogloss-metrics":
        about = {key: value for key, value in manifest.items() if key != "report"}
    elif kind in ("sonogloss-captioner", "sonogloss-label-prompts"):
        about = {key: value for key, value in manifest.items() if key != "files"}
        about["bytes"] = sum(entry["bytes"] for entry in manifest["files"])
    else:
        about = {key: value for key, value in manifest.items() if key not in ("parts", "manifest")}
        parts = read_parts(directory, read_run(directory) or manifest)
        about["part_files"] = len(parts)
        about["skipped_listed"] = sum(part["rows"] for part in parts if part["path"].startswith(f"{SKIPPED}/"))
        about["bytes"] = sum(part["bytes"] for part in parts)
    return {"directory": directory, "kind": kind, "facts": facts_of(kind, manifest), "about": about, "problems": []}


def facts_of(kind: str, manifest: Mapping[str, Any]) -> dict[str, str]:
    """What one wants to know first."""
    facts = {"made by": manifest.get("created_by", "an earlier release")}
    match kind:
        case "sonogloss-results":
            counts, options = manifest.get("counts", {}), manifest.get("configuration", {})
            facts |= {"rows": ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())}
            facts |= {"models": " and ".join(str(options[name]) for name in ("captioner", "clap") if options.get(name))}
            facts |= {"audio": _some(options.get("audio")), "datastore": _some(options.get("datastore"))}
            facts |= {"seconds": f"{manifest.get('wall_time_s', 0):,.1f}"}
        case "sonogloss-metrics":
            report, inputs = manifest.get("report", {}), manifest.get("inputs", {})
            facts |= {row["metric"]: f"{row['value']:.4f} of {row['n']:,} clips" for row in report.get("corpus", [])}
            facts |= {name: _some(inputs.get(name)) for name in ("results", "references")}
        case "sonogloss-datastore":
            sources = [source["name"] for source in manifest.get("sources", [])]
            facts |= {"captions": f"{manifest.get('count', 0):,}", "sources": _some(sources)}
        case _:
            facts |= {name: str(manifest[name]) for name in ("method", "labels") if isinstance(manifest.get(name), str)}
    return {name: value for name, value in facts.items() if value}


def _some(value: Any) -> str:
    """One name, or the first of several and how many more there are."""
    names = [value] if isinstance(value, str) else list(value or [])
    return str(names[0]) + (f" and {len(names) - 1:,} more" if len(names) > 1 else "") if names else ""


def page_title(path: str) -> str | None:
    """The title of a page of ours; None when this is none."""
    if files.is_dir(path) or not files.exists(path) or files.is_pipe(path):
        return None
    with files.open_read(path) as handle:
        head = handle.read(8000).decode(errors="replace")
    found = re.search("<title>(.*?)</title>", head)
    return html.unescape(found[1]) if GENERATOR in head and found else None


def show(report: dict[str, Any]) -> None:
    """Print the report for a person."""
    console = plain_console()
    console.print(f"{report['directory']}: {report['kind']}", soft_wrap=True)
    for name, fact in report["facts"].items():
        console.print(f"  {name}: {fact}", soft_wrap=True)
    if not report["about"]:
        return
    rows = Table(show_header=False)
    rows.add_column(no_wrap=True)
    rows.add_column(overflow="fold")
    for name, value in _lines(report["about"]):
        rows.add_row(name, value)
    console.print(rows)


def _lines(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Nested entries as one line each: `counts.inputs`, `24`."""
    if isinstance(value, Mapping) and value:
        return [line for key, inner in value.items() for line in _lines(inner, f"{name}.{key}" if name else str(key))]
    return [(name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))]
