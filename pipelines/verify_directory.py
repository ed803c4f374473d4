"""verify: recompute every digest and count of a directory that we wrote; name what is wrong."""

from __future__ import annotations

from typing import Any

from sonogloss import files
from sonogloss.errors import FormatError, OptionError
from sonogloss.indexes import verify as verify_datastore
from sonogloss.methods import verify_captioner
from sonogloss.pipelines.config.datastores import VerifyConfig
from sonogloss.pipelines.config.parser import command
from sonogloss.pipelines.inspect_directory import MANIFESTS, identify
from sonogloss.pipelines.running.run_parts import Stage, parts_runner
from sonogloss.pipelines.running.terminal import plain_console
from sonogloss.transforms.commit_run import FORMAT, read_parts
from sonogloss.transforms.skipped_files import MOST_LISTED, SKIPPED
from sonogloss.transforms.verify_parts import plan_verification, read_findings, repeated_clips, verify_range
from sonogloss.transforms.work_files import WORK_FOLDER


@command(VerifyConfig)
def verify(config: VerifyConfig) -> dict[str, Any]:
    """Check a directory that we wrote.

    Returns:
        The report: `directory`, `kind`, `problems`, one sentence each; empty when all is well.

    Raises:
        MissingInputError: there is no such directory.
        OptionError: workers are asked for, and it holds no results.
        StoreFormatError: it is none of these, or unfinished.
    """
    directory = str(config.directory)
    if damaged := _damaged_manifest(directory):
        kind, name = damaged
        return {"directory": directory, "kind": kind, "problems": [f"{name} is not JSON; it is damaged."]}
    kind, manifest = identify(directory)
    if kind != FORMAT and (config.workers is not None or config.beam_args):
        raise OptionError(
            f"{directory!r} holds no results, and only these are verified by workers.",
            "Leave --workers and the options of a runner out.",
        )
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
        problems = _verify_results(config, manifest)
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


def _verify_results(config: VerifyConfig, run: dict[str, Any]) -> list[str]:
    directory = str(config.directory)
    lacking = [] if {"parts", "manifest"} & run.keys() else ["parts"]
    if lacking := sorted({*lacking, *({"counts"} - run.keys())}):
        return [f"run.json lacks {' and '.join(lacking)}."]
    try:
        if problems := [text for entry in run.get("manifest", []) if (text := files.file_problem(directory, entry))]:
            return problems
        return _verify_parts(config, directory, run)
    except (KeyError, TypeError, AttributeError) as error:
        return [f"run.json has an entry missing or malformed ({error!r})."]


def _verify_parts(config: VerifyConfig, directory: str, run: dict[str, Any]) -> list[str]:
    counts = run["counts"]
    folders = ("labels" if "labels" in counts else "captions", "dead_letters")
    named = {part["path"] for part in read_parts(directory, run)}
    with parts_runner(config, directory, name=f"{WORK_FOLDER}/verify", noun="rows") as (work, run_parts):
        plan = plan_verification(work, directory, len(named), config.sample)
        run_parts(plan, Stage(work=verify_range))
        problems, rows = read_findings(plan)
        repeated, clip = repeated_clips(plan, run, rows.get(folders[0], 0))
    if not problems:
        problems = [
            f"There are {rows.get(folder, 0)} {folder} rows, but run.json counts {counts[folder]}."
            for folder in folders
            if rows.get(folder, 0) != counts[folder]
        ]
        # Earlier releases counted what they left out and did not list it. Silent windows are never listed.
        left_out = counts["skipped"] - run.get("skipped_codes", {}).get("SILENT", 0)
        if rows.get(SKIPPED, 0) not in (0, min(left_out, MOST_LISTED)):
            problems.append(f"{rows[SKIPPED]} skipped files are listed, but run.json counts {left_out}.")
    if counts["inputs"] != counts[folders[0]] + counts["dead_letters"] + counts["skipped"]:
        problems.append(f"The counts do not add up: {counts}.")
    if repeated:
        problems.append(f"{repeated} clips have several rows, {clip} among them.")
    for folder in (*folders, SKIPPED):
        for path in files.list_dir(files.join(directory, folder), ".parquet"):
            if (name := f"{folder}/{files.base_name(path)}") not in named:
                problems.append(f"{name} is not named in run.json; whoever reads the folder reads rows too many.")
    return problems


def show(report: dict[str, Any]) -> None:
    """Print the report for a person; the command line prints the problems."""
    if not report["problems"]:
        plain_console().print(f"{report['directory']}: every file of this {report['kind']} is as it was written.")
