"""What lies in an output directory, and whose it is: a job removes and replaces only what it can prove its own.

The footer of a part file says which kind of job wrote it; `run.json` names the parts of a finished run. Files in our
folders that neither of them proves ours belong to somebody else: the job does not begin, and gives no advice that
would delete them. An output of training that exists follows one rule: the same options continue or are done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sonogloss import files
from sonogloss.errors import FormatError, OutputError
from sonogloss.in_parallel import in_parallel
from sonogloss.transforms.commit_run import FORMAT, MANIFEST, RUN_FILE, read_parts, read_run
from sonogloss.transforms.part_files import (
    DATASTORE,
    DEAD_LETTERS,
    KINDS,
    Footer,
    is_half_written,
    read_footer,
    unit_in_name,
)
from sonogloss.transforms.skipped_files import SKIPPED, SKIPPED_KEY

COMMANDS = {"captions": "caption", "labels": "classify"}
# Directories that are something else of ours, by the file that says so.
OTHERS = {
    "manifest.json": ("sonogloss-datastore", "a datastore"),
    "captioner.json": ("sonogloss-captioner", "a captioner"),
    "prompts.json": ("sonogloss-label-prompts", "label prompts"),
}
EXPORTS = "exports"
_ELSEWHERE = "Move them away, or name another directory."


@dataclass(frozen=True, kw_only=True)
class Holdings:
    """What a results directory holds of ours.

    Attributes:
        run: the content of `run.json`, None when there is none.
        committed: the entries of the parts that it names, by path.
        footers: the part files, by path.
        broken: part files of ours that cannot be read.
        leftovers: half-written files, and manifests and lists of skipped files that no `run.json` names.
        manifests: those that `run.json` names.
        skipped: the lists of skipped files that it names.
    """

    run: dict[str, Any] | None
    committed: Mapping[str, Mapping[str, Any]]
    footers: Mapping[str, Footer]
    broken: tuple[str, ...]
    leftovers: tuple[str, ...]
    manifests: tuple[str, ...]
    skipped: tuple[str, ...] = ()


def refuse_other_directory(output: str, *, but: str | None = None) -> None:
    """A datastore, a captioner or label prompts are no place for anything else.

    Args:
        output: the directory.
        but: the format that it may have.

    Raises:
        OutputError: the directory is one of them.
    """
    for name, (kind, words) in OTHERS.items():
        path = files.join(output, name)
        if kind != but and files.exists(path) and _format_of(path) == kind:
            raise OutputError(f"--output {output!r} holds {words}.", "Name another directory.")


def refuse_results(output: str) -> None:
    """A results directory, finished or not, is no place for anything else.

    Raises:
        OutputError: it is one, or somebody else's Parquet files lie where dead letters go.
    """
    run = files.join(output, RUN_FILE)
    if files.exists(run) and _format_of(run) == FORMAT:
        raise OutputError(f"--output {output!r} holds results ({RUN_FILE}).", "Name another directory.")
    for folder in (*KINDS, DEAD_LETTERS):
        for path in files.list_dir(files.join(output, folder), ".parquet"):
            footer = _footer(path)
            if footer is not None and footer.kind != DATASTORE:
                command = COMMANDS.get(footer.kind or folder, "caption or classify")
                raise OutputError(f"--output {output!r} holds results of {command}.", "Name another directory.")


def refuse_foreign_exports(output: str) -> None:
    """What lies among the exports of a directory without results is no export of ours.

    Raises:
        OutputError: something does.
    """
    if not files.exists(files.join(output, RUN_FILE)) and not _names(output, KINDS):
        _refuse_foreign(output, _names(output, (EXPORTS,)))


def survey(output: str, *, kind: str, units: Callable[[], Iterable[str]] = tuple) -> Holdings:
    """Look at a results directory; nothing is changed.

    Args:
        output: the directory; it need not exist.
        kind: the folder of the job's rows, `captions` or `labels`.
        units: gives the ids of the job's units; a damaged file that is called after one of them is ours.

    Raises:
        OutputError: files of somebody else lie in our folders, or the directory holds something else of ours.
    """
    refuse_other_directory(output)
    try:
        run = read_run(output)
    except FormatError as error:
        raise OutputError(error.what, "Move it away, or name another directory.") from error
    committed = {part["path"]: part for part in read_parts(output, run)} if run else {}
    skipped = tuple(path for path in committed if path.startswith(f"{SKIPPED}/"))
    committed = {path: part for path, part in committed.items() if path not in skipped}
    manifests = tuple(entry["path"] for entry in run.get("manifest", [])) if run else ()
    footers: dict[str, Footer] = {}
    broken, foreign = [], []
    leftovers: list[str] = []
    names: list[str] = []
    for name in _names(output, (*KINDS, DEAD_LETTERS)):
        (leftovers if is_half_written(name) else names).append(name)
    for name, footer in zip(names, in_parallel(partial(_look, output), names, place=output), strict=True):
        if isinstance(footer, Exception):
            broken.append(name)
        elif footer is None or footer.unit != unit_in_name(name):
            foreign.append(name)
        else:
            footers[name] = footer
    known = {*(units() if broken else ()), *(footer.unit for footer in footers.values())}
    foreign += [name for name in broken if name not in committed and unit_in_name(name) not in known]
    broken = [name for name in broken if name not in foreign]
    for name in _names(output, (MANIFEST, SKIPPED)):
        if is_half_written(name) or (name not in (*manifests, *skipped) and _is_list(files.join(output, name))):
            leftovers.append(name)
        elif name not in (*manifests, *skipped):
            foreign.append(name)
    _refuse_foreign(output, foreign)
    _refuse_other_kind(output, run, footers, kind)
    return Holdings(
        run=run,
        committed=committed,
        footers=footers,
        broken=tuple(broken),
        leftovers=tuple(leftovers),
        manifests=manifests,
        skipped=skipped,
    )


def _look(output: str, name: str) -> Footer | Exception | None:
    """The footer of a file; why it cannot be read; None where it is no part file of ours."""
    try:
        return read_footer(files.join(output, name)) if name.endswith(".parquet") else None
    except (OSError, pa.ArrowException) as error:
        return error


def remove_half_written(output: str) -> None:
    """Remove what writers that were ended left half done."""
    for name in _names(output, (*KINDS, DEAD_LETTERS, MANIFEST, SKIPPED)):
        if is_half_written(name):
            with suppress(OSError):
                files.remove(files.join(output, name))


def _names(output: str, folders: Iterable[str]) -> list[str]:
    """Everything in these folders but hidden files, which are nobody's business."""
    return [
        f"{folder}/{base}"
        for folder in folders
        for path in files.list_dir(files.join(output, folder))
        if not (base := files.base_name(path)).startswith(".")
    ]


def _refuse_foreign(output: str, names: list[str]) -> None:
    if names:
        named = ", ".join(sorted(names)[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
        raise OutputError(f"--output {output!r} holds files that are not ours: {named}.", _ELSEWHERE)


def _refuse_other_kind(output: str, run: dict[str, Any] | None, footers: Mapping[str, Footer], kind: str) -> None:
    found = {footer.kind or name.partition("/")[0] for name, footer in footers.items()}
    found |= set(run["counts"]) if run else set()
    for other in KINDS:
        if other != kind and other in found:
            raise OutputError(f"--output {output!r} holds results of {COMMANDS[other]}.", "Name another directory.")


def _format_of(path: str) -> str | None:
    try:
        content = files.read_json(path)
    except FormatError:
        return None
    return content.get("format") if isinstance(content, dict) else None


def _footer(path: str) -> Footer | None:
    try:
        return read_footer(path)
    except (OSError, pa.ArrowException):
        return None


def _is_list(path: str) -> bool:
    """Is this a manifest of ours, or a list of skipped files?"""
    try:
        with files.open_read(path) as handle:
            return not {b"sonogloss.manifest", SKIPPED_KEY}.isdisjoint(pq.read_schema(handle).metadata or {})
    except (OSError, pa.ArrowException):
        return False


def earlier_run(
    output: str, manifest: str, options: Mapping[str, Any], *, key: str, unfinished: str, overwrite: bool
) -> dict[str, Any] | None:
    """What a finished run of the same options left.

    Args:
        output: the directory of `--output`.
        manifest: name of the json file that a finished run writes last.
        options: those of this run, as json has them.
        key: where the manifest keeps the options.
        unfinished: name of a file or folder that an unfinished run leaves.
        overwrite: whatever is there will be replaced.

    Returns:
        The content of the manifest; None when the job has to run.

    Raises:
        OutputError: the output holds a run of other options, or something else.
    """
    if overwrite:
        return None
    path = files.join(output, manifest)
    if files.exists(path):
        content = files.read_json(path)
        if not isinstance(content, dict):
            raise refused(output, "other files")
        if content.get(key) == options:
            return content
        raise refused(output, "a result of other options", content.get(key, {}), options)
    if files.list_dir(output) and not files.exists(files.join(output, unfinished)):
        raise refused(output, "other files")
    return None


def refused(
    output: str, what: str, before: Mapping[str, Any] | None = None, now: Mapping[str, Any] | None = None
) -> OutputError:
    """The error of an output that is taken; it names the options that were others before."""
    old, new = _flat(before or {}), _flat(now or {})
    others = [f"{name} was {_short(old[name])}" for name in old.keys() & new.keys() if old[name] != new[name]]
    named = f" ({', '.join(sorted(others))})" if others else ""
    return OutputError(
        f"--output {output!r} holds {what}{named}.", "Name another directory, or replace the content with --overwrite."
    )


def _flat(options: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in options.items():
        found |= _flat(value) if isinstance(value, Mapping) else {name: value}
    return found


def _short(value: Any) -> str:
    words = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return words if len(words) <= 40 else f"{words[:37]}..."
