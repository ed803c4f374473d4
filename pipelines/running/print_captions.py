"""Captions without a results directory: a few recordings, in this process, as text for a person or a program."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from sonogloss.errors import OptionError
from sonogloss.pipelines.config.captioning import CaptionConfig
from sonogloss.pipelines.running.audio_job import BATCH_SIZE, run_here
from sonogloss.pipelines.running.caption_job import prepare
from sonogloss.pipelines.running.inputs import as_list, list_audio, note_pocket
from sonogloss.transforms.read_audio import read_units
from sonogloss.transforms.work import cut_units

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
    if form in ("srt", "vtt") and len(sources) > 1:
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
        "counts": {"captions": len(rows), "dead_letters": len(dead), "skipped": len(skipped)},
        "skipped_codes": dict(Counter(str(one.code) for one in skipped)),
        "format": form,
        "problems": [f"{len(dead):,} of {len(rows) + len(dead):,} inputs failed"] if failed else [],
    }


def formatted(rows: Sequence[Row], form: str) -> str:
    """Rows as text, with a line break at the end.

    Args:
        rows: in order.
        form: `txt`, `jsonl`, `csv`, `srt` or `vtt`.
    """
    return FORMATS[form](rows)


def _txt(rows: Sequence[Row]) -> str:
    """A line a clip, under the name of its recording where there are several."""
    several = len({(row["uri"], row["member"]) for row in rows}) > 1
    lines, before = [], None
    for row in rows:
        name = row["uri"] if row["member"] is None else f"{row['uri']} {row['member']}"
        if several and name != before:
            lines.append(name)
        before = name
        lines.append(f"[{_time(row['start_s'], '.')} --> {_time(row['end_s'], '.')}]  {row['caption']}")
    return "".join(f"{line}\n" for line in lines)


def _jsonl(rows: Sequence[Row]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _csv(rows: Sequence[Row]) -> str:
    target = io.StringIO(newline="")
    writer = csv.DictWriter(target, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return target.getvalue()


def _srt(rows: Sequence[Row]) -> str:
    """SubRip: numbered cues, a comma before the milliseconds."""
    return "".join(
        f"{number}\n{_time(row['start_s'], ',')} --> {_time(row['end_s'], ',')}\n{row['caption']}\n\n"
        for number, row in enumerate(rows, 1)
    )


def _vtt(rows: Sequence[Row]) -> str:
    """WebVTT (W3C), whose text may hold no `-->` and escapes `&`, `<` and `>`."""
    cues = (
        f"{_time(row['start_s'], '.')} --> {_time(row['end_s'], '.')}\n{_escaped(row['caption'])}\n\n" for row in rows
    )
    return "WEBVTT\n\n" + "".join(cues)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _time(seconds: float, mark: str) -> str:
    """`00:00:10.000`."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{mark}{rest % 1000:03d}"


FORMATS: dict[str, Callable[[Sequence[Row]], str]] = {
    "txt": _txt,
    "jsonl": _jsonl,
    "csv": _csv,
    "srt": _srt,
    "vtt": _vtt,
}
