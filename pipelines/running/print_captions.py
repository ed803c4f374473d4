"""Captions as text for a person or a program: a few recordings in this process, or what a results directory holds."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import chain, groupby
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from sonogloss import files
from sonogloss.errors import OptionError
from sonogloss.pipelines.config.captioning import CaptionConfig
from sonogloss.pipelines.running.audio_job import BATCH_SIZE, run_here
from sonogloss.pipelines.running.caption_job import prepare
from sonogloss.pipelines.running.inputs import as_list, list_audio, note_pocket
from sonogloss.pipelines.running.ownership import EXPORTS
from sonogloss.transforms.commit_run import read_parts, read_run
from sonogloss.transforms.read_audio import read_units
from sonogloss.transforms.work import cut_units

SUBTITLES = ("srt", "vtt")
_BATCH = 8192
_LONGEST_NAME = 200  # bytes; it gets an ending, and may get a number
COLUMNS = ("uri", "member", "start_s", "end_s", "caption", "clap_score")
WITHOUT_DATASTORE = "pocket:soft-hard"
"""The embedded captioner that reads no retrieved captions."""

Row = Mapping[str, Any]


def print_captions(config: CaptionConfig) -> dict[str, Any]:
    """Caption recordings here and now, and write nothing.

    Without a datastore the embedded captioner is the one that needs none.

    Returns:
        The report: `rows` (uri, member, start_s, end_s, caption, clap_score) in order, `dead_letters`, `counts`,
        `format`, `problems`.

    Raises:
        InputError: an option or an input makes the job impossible.
    """
    if config.beam_args:
        raise OptionError(f"{config.beam_args[0]} is for a results directory.", "Give --output DIR.")
    form = config.format or "txt"
    sources, skipped = list_audio(as_list(config.audio))
    if form in SUBTITLES and len(sources) > 1:
        raise OptionError(f"--format {form} holds the captions of one recording.", "Name one recording.")
    if config.captioner == "pocket" and config.datastore is None:
        config = replace(config, captioner=WITHOUT_DATASTORE)
    job = prepare(config)
    note_pocket(job.clap.name, (uri for uri, _ in sources.names()))
    batches = read_units(cut_units(sources), policy=config.policy, sample_rate=job.sample_rate, batch_size=BATCH_SIZE)
    rows, dead = [], []
    for batch in run_here(job, batches):
        dead += [asdict(letter) for letter in batch.dead]
        for row in job.rows.of(batch):
            cells = {**vars(row.clip), "caption": row.caption, "clap_score": float(row.clap_score)}
            rows.append({name: cells[name] for name in COLUMNS})
    failed = len(dead) > config.max_dead_letters * (len(rows) + len(dead))
    return {
        "rows": rows,
        "dead_letters": dead,
        "counts": {"captions": len(rows), "dead_letters": len(dead), "skipped": skipped.counts.total()},
        "skipped_codes": dict(skipped.counts),
        "format": form,
        "problems": [f"{len(dead):,} of {len(rows) + len(dead):,} inputs failed"] if failed else [],
    }


def formatted(rows: Sequence[Row], form: str) -> str:
    """Rows as text, with a line break at the end.

    Args:
        rows: in order.
        form: `txt`, `jsonl`, `csv`, `srt` or `vtt`.
    """
    return "".join(FORMATS[form](rows))


def export(output: str, form: str) -> list[str]:
    """Write the captions of a results directory once more, for other programs.

    Args:
        output: the results directory.
        form: `txt`, `jsonl` or `csv` gives `exports/captions.*`; `srt` or `vtt` gives a file for each recording.

    Returns:
        The files.
    """
    run = read_run(output) or {}
    parts = [part["path"] for part in read_parts(output, run, "captions") if part["rows"]]
    tables = [files.read_table(files.join(output, part), list(COLUMNS)) for part in parts]
    if not tables:
        return []
    rows = pa.concat_tables(tables).sort_by([(name, "ascending") for name in ("uri", "member", "start_s")])
    every = (row for batch in rows.to_batches(_BATCH) for row in batch.to_pylist())
    if form not in SUBTITLES:
        return [_write(files.join(output, f"{EXPORTS}/captions.{form}"), FORMATS[form](every))]
    taken: Counter[str] = Counter()
    written = []
    for (uri, member), cues in groupby(every, key=lambda row: (row["uri"], row["member"])):
        name = free_name(PurePosixPath(files.base_name(member or uri)).stem, taken)
        written.append(_write(files.join(output, f"{EXPORTS}/{name}.{form}"), FORMATS[form](cues)))
    return written


def free_name(name: str, taken: Counter[str]) -> str:
    """A file's name that none before it has: itself if it may be, else with a number; cut where it is too long."""
    name = name.encode()[:_LONGEST_NAME].decode(errors="ignore")
    while True:
        taken[name] += 1
        found = name if taken[name] == 1 else f"{name}-{taken[name]}"
        if found == name or not taken[found]:
            taken[found] += found != name
            return found


def _write(path: str, pieces: Iterable[str]) -> str:
    with files.atomic_write(path) as handle:
        for piece in pieces:
            handle.write(piece.encode("utf-8", "backslashreplace"))
    return path


def _txt(rows: Iterable[Row]) -> Iterator[str]:
    """A line a clip, under the name of its recording where there are several."""
    before: str | None = None
    pending: list[str] = []  # of the first recording, until another one comes
    several = False
    for row in rows:
        name = row["uri"] if row["member"] is None else f"{row['uri']} {row['member']}"
        line = f"[{_time(row['start_s'], '.')} --> {_time(row['end_s'], '.')}]  {row['caption']}\n"
        if before is not None and name != before and not several:
            several = True
            yield from (f"{before}\n", *pending)
        if not several:
            pending.append(line)
        else:
            yield f"{name}\n{line}" if name != before else line
        before = name
    if not several:
        yield from pending


def _jsonl(rows: Iterable[Row]) -> Iterator[str]:
    return (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _csv(rows: Iterable[Row]) -> Iterator[str]:
    for row in chain([dict(zip(COLUMNS, COLUMNS, strict=True))], rows):
        target = io.StringIO(newline="")
        csv.DictWriter(target, COLUMNS, lineterminator="\n").writerow(row)
        yield target.getvalue()


def _srt(rows: Iterable[Row]) -> Iterator[str]:
    """SubRip: numbered cues, a comma before the milliseconds."""
    return (
        f"{number}\n{_time(row['start_s'], ',')} --> {_time(row['end_s'], ',')}\n{row['caption']}\n\n"
        for number, row in enumerate(rows, 1)
    )


def _vtt(rows: Iterable[Row]) -> Iterator[str]:
    """WebVTT (W3C), whose text may hold no `-->` and escapes `&`, `<` and `>`."""
    cues = (
        f"{_time(row['start_s'], '.')} --> {_time(row['end_s'], '.')}\n{_escaped(row['caption'])}\n\n" for row in rows
    )
    return chain(["WEBVTT\n\n"], cues)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _time(seconds: float, mark: str) -> str:
    """`00:00:10.000`."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{mark}{rest % 1000:03d}"


FORMATS: dict[str, Callable[[Iterable[Row]], Iterator[str]]] = {
    "txt": _txt,
    "jsonl": _jsonl,
    "csv": _csv,
    "srt": _srt,
    "vtt": _vtt,
}
