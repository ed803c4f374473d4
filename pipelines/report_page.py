"""report: results -> one HTML page to look at and listen to."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sonogloss import files
from sonogloss.audio.windows import INFORMATIVE_FLAGS
from sonogloss.errors import MissingInputError, OptionError, OutputError, StoreFormatError
from sonogloss.page import GENERATOR, clip_sounds, embedding_map, page_html
from sonogloss.pipelines.config.evaluation import ReportConfig, ScoringOptions
from sonogloss.pipelines.config.parser import command
from sonogloss.pipelines.running.inputs import as_list
from sonogloss.pipelines.running.scoring import Scores, score_rows
from sonogloss.pipelines.running.terminal import plain_console
from sonogloss.sources import unprinted
from sonogloss.transforms.commit_run import read_parts, read_run

EXAMPLES = 20  # failures shown a code
LONGEST_SOUND_S = 60.0  # a longer clip is not embedded
_NOT_SHOWN = ("audio_sha256", "scores")


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """A results directory, read.

    Attributes:
        path: where it lies.
        kind: `captions` or `labels`.
        run: the content of its `run.json`, without the list of parts.
        rows: all rows, by file and time.
        failures: its dead letters.
    """

    path: str
    kind: str
    run: Mapping[str, Any]
    rows: pa.Table
    failures: pa.Table


@command(ReportConfig)
def report(config: ReportConfig) -> dict[str, Any]:
    """Write a page with the clips of a run: captions, scores, contexts, sound, failures.

    Returns:
        The report: `output`, `clips` on the page, `rows` of the run, `sounds` in the page, `bytes`, `problems`.

    Raises:
        InputError: an option or a directory cannot be used.
    """
    output = str(config.output)
    _refuse_foreign(output)
    if config.audio_mb < 0:
        raise OptionError(f"--audio-mb {config.audio_mb:g} is negative.", "Give 0 or more.")
    others = [] if config.compare is None else as_list(config.compare)
    runs = [read_results(path) for path in (str(config.results), *others)]
    if len({run.kind for run in runs}) > 1:
        raise OptionError("--compare names results of another kind.", "Compare captions with captions.")
    scores = [_scores(run, config) for run in runs] if config.references is not None else []
    shown = runs[0].rows.slice(0, config.clips).to_pylist()
    clips = [_clip(row) for row in shown]
    _add_scores(clips, scores[:1])
    for at, run in enumerate(runs[1:], 1):
        _add_other(clips, run, scores[at : at + 1])
    notes = _notes(runs, len(clips))
    sounds = _add_sounds(clips, shown, config, notes) if config.audio != "none" else {}
    embeddings = [row.get("embedding") for row in shown]
    data = {
        "title": _names(runs[:1])[0],
        "subtitle": f"{runs[0].rows.num_rows:,} {runs[0].kind}, {runs[0].run.get('created_by', '')}".rstrip(", "),
        "runs": [_run(run, name) for run, name in zip(runs, _names(runs), strict=True)],
        "notes": notes,
        "clips": clips,
        "flags": dict(Counter(flag for clip in clips for flag in clip["flags"]).most_common()),
        "informative": INFORMATIVE_FLAGS,
        "labels": sorted({clip["labels"][0][0] for clip in clips if clip["labels"]}),
        "sources": sorted({context[2] for clip in clips for context in clip["contexts"]}),
        "metrics": _metrics(scores),
        "failures": _failures(runs[0]),
        "map": embedding_map(np.asarray(embeddings, np.float32)) if embeddings and embeddings[0] is not None else None,
    }
    page = page_html(data, sounds, title=f"{data['title']}: sonogloss", linked=config.audio == "link")
    files.write_bytes(output, page.encode(errors="backslashreplace"))  # a path may not be UTF-8
    return {
        "output": output,
        "rows": runs[0].rows.num_rows,
        "clips": len(clips),
        "sounds": len(sounds),
        "bytes": len(page),
        "notes": notes,
        "problems": [],
    }


def _refuse_foreign(output: str) -> None:
    if files.is_dir(output):
        raise OutputError(f"--output {output!r} is a directory.", "Name a file that ends in .html.")
    if files.exists(output):
        with files.open_read(output) as handle:
            if GENERATOR.encode() not in handle.read(2000):
                raise OutputError(f"--output {output!r} is no page of ours.", "Name another file.")


def read_results(path: str) -> Results:
    """Read a results directory whole.

    Raises:
        MissingInputError: there is none.
        StoreFormatError: it is none, or holds no rows.
    """
    if not files.is_dir(path):
        raise MissingInputError(f"{path!r} is not a directory.", "Name the output of caption or classify.")
    run = read_run(path)
    if run is None:
        raise StoreFormatError(f"{path!r} has no run.json.", "Let the job finish, or name a results directory.")
    kind = "labels" if "labels" in run.get("counts", {}) else "captions"
    tables = [files.read_table(files.join(path, part["path"])) for part in read_parts(path, run, kind) if part["rows"]]
    if not tables:
        raise StoreFormatError(f"{path!r} holds no {kind}.", "Look into its dead_letters.")
    rows = pa.concat_tables(tables, promote_options="default").drop_columns(
        [name for name in _NOT_SHOWN if name in tables[0].column_names]
    )
    dead = [files.read_table(files.join(path, part["path"])) for part in read_parts(path, run, "dead_letters")]
    return Results(
        path=path,
        kind=kind,
        run={name: value for name, value in run.items() if name not in ("parts", "manifest")},
        rows=rows.sort_by([("uri", "ascending"), ("member", "ascending"), ("start_s", "ascending")]),
        failures=pa.concat_tables(dead, promote_options="default")
        if dead
        else pa.table({"code": pa.array([], pa.string())}),
    )


def _scores(run: Results, config: ReportConfig) -> Scores:
    if run.kind != "captions":
        raise OptionError("--references compares captions, and these results hold labels.", "Use sonogloss evaluate.")
    rows = run.rows.select(["clip_id", "uri", "caption", "clap_score"])
    options = ScoringOptions(per=config.per)
    return score_rows(lambda: iter(rows.to_pylist()), options, results=run.path, references=str(config.references))


def _clip(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as the page has it: no numpy, no NaN, names without their folders."""
    labels = row.get("labels") or row.get("keywords") or []
    return {
        "id": row["clip_id"],
        "name": files.base_name(row["uri"]),
        "member": row["member"],
        "start": row["start_s"],
        "end": row["end_s"],
        "duration": row["duration_s"],
        "rate": row["sample_rate"],
        "channels": row["channels"],
        "flags": list(row["flags"]),
        "caption": row.get("caption") or ", ".join(entry["label"] for entry in labels[:3]),
        "score": row.get("clap_score", labels[0]["score"] if labels else None),
        "contexts": [[context["text"], context["score"], context["source"]] for context in row.get("contexts") or []],
        "labels": [[entry["label"], entry["score"]] for entry in labels],
    }


def _add_scores(clips: Sequence[dict[str, Any]], scores: Sequence[Scores]) -> None:
    for one in scores:
        found = one.by_row()
        for number, clip in enumerate(clips):
            clip["references"], clip["metrics"] = found.get(number, ([], {}))


def _add_other(clips: Sequence[dict[str, Any]], run: Results, scores: Sequence[Scores]) -> None:
    """The same clips in another run, found by their ids; None where it lacks one."""
    wanted = pa.array([clip["id"] for clip in clips])
    values = scores[0].by_row() if scores else {}
    positions = pc.index_in(wanted, run.rows["clip_id"].combine_chunks()).to_pylist()
    for clip, position in zip(clips, positions, strict=True):
        found = None
        if position is not None:
            other = _clip(run.rows.slice(position, 1).to_pylist()[0])
            found = {"caption": other["caption"], "score": other["score"]}
            if scores:
                found["metrics"] = values.get(position, ([], {}))[1]
        clip.setdefault("others", []).append(found)


def _add_sounds(
    clips: Sequence[dict[str, Any]], rows: Sequence[Mapping[str, Any]], config: ReportConfig, notes: list[str]
) -> dict[str, str]:
    """Read every clip again: its waveform is drawn, its sound embedded while the budget lasts, or linked."""
    by_id = {clip["id"]: (clip, row) for clip, row in zip(clips, rows, strict=True)}
    folder = files.local_path(str(config.output))
    sounds: dict[str, str] = {}
    left = config.audio_mb * 1e6
    for sound in clip_sounds(rows):
        clip, row = by_id[sound.clip_id]
        clip["peaks"] = sound.peaks
        if config.audio == "link":
            clip["link"] = _link(row, folder)
        elif left > 0 and clip["end"] - clip["start"] <= LONGEST_SOUND_S:
            sounds[sound.clip_id] = opus = sound.opus()
            clip["sound"] = True
            left -= len(opus)
    read = sum("peaks" in clip for clip in clips)
    if read < len(clips):
        notes.append(f"{len(clips) - read:,} clips could not be read again.")
    if config.audio == "embed" and len(sounds) < read:
        notes.append(
            f"The sound of {len(sounds):,} of {read:,} clips is in this page (--audio-mb {config.audio_mb:g})."
        )
    return sounds


def _link(row: Mapping[str, Any], page: str | None) -> str | None:
    """From the page to a recording, both on this machine; members of archives cannot be played."""
    recording = files.local_path(unprinted(row["uri"]))
    if page is None or recording is None or row["member"] is not None:
        return None
    relative = os.path.relpath(recording, os.path.dirname(os.path.abspath(page)))
    return quote(os.fsencode(relative))


def _notes(runs: Sequence[Results], clips: int) -> list[str]:
    total = runs[0].rows.num_rows
    return [f"The first {clips:,} of {total:,} clips are shown."] if clips < total else []


def _names(runs: Sequence[Results]) -> list[str]:
    """What the page calls the runs: by their folders, unless these have the same name."""
    paths = [run.path.rstrip("/") for run in runs]
    names = [files.base_name(path) or path for path in paths]
    return names if len(set(names)) == len(names) else paths


def _run(run: Results, name: str) -> dict[str, Any]:
    lengths = pc.subtract(run.rows["end_s"], run.rows["start_s"])
    return {
        "name": name,
        "rows": run.rows.num_rows,
        "hours": (pc.sum(lengths).as_py() or 0.0) / 3600,
        "record": run.run,
    }


def _metrics(scores: Sequence[Scores]) -> list[dict[str, Any]]:
    if not scores:
        return []
    found = [{row.metric: row for row in one.corpus} for one in scores]
    return [
        {
            "metric": row.metric,
            "values": [[own.value, own.low, own.high] if (own := one.get(row.metric)) else None for one in found],
            "n": row.n,
        }
        for row in scores[0].corpus
    ]


def _failures(run: Results) -> list[dict[str, Any]]:
    counts = Counter(run.failures["code"].to_pylist())
    return [
        {
            "code": code,
            "count": count,
            "examples": run.failures.filter(pc.field("code") == code)
            .select(["uri", "member", "stage", "message"])
            .slice(0, EXAMPLES)
            .to_pylist(),
        }
        for code, count in counts.most_common()
    ]


def show(report: dict[str, Any]) -> None:
    """Print the report for a person."""
    console = plain_console()
    size = f"{report['bytes'] / 1e6:.1f} MB"
    console.print(f"{report['output']}: {report['clips']:,} clips, {report['sounds']:,} with sound, {size}")
    for note in report["notes"]:
        console.print(note)
