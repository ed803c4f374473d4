"""What a job over recordings says when it is done, and the words for recordings of which nothing could be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rich.table import Table

from sonogloss import files
from sonogloss.audio import WindowPolicy
from sonogloss.errors import MissingInputError
from sonogloss.pipelines.running.done_sources import NAMED
from sonogloss.pipelines.running.inputs import too_many
from sonogloss.pipelines.running.progress import Tally, in_words
from sonogloss.pipelines.running.resume import UnitPlan
from sonogloss.pipelines.running.terminal import plain_console
from sonogloss.sources import Source
from sonogloss.transforms.commit_run import RUN_FILE, read_parts
from sonogloss.transforms.long_sources import count_recordings
from sonogloss.transforms.part_files import DEAD_LETTERS
from sonogloss.transforms.read_audio import STAGE as READ_AUDIO
from sonogloss.transforms.read_audio import read_unit
from sonogloss.transforms.work import Batch, make_unit


def first_batch(sources: Sequence[Source], *, policy: WindowPolicy, sample_rate: int, batch_size: int) -> Batch:
    """The first clips of the first source that can be read, as a unit of their own, for a dry run.

    Raises:
        MissingInputError: none can.
    """
    for source in sources:
        unit = make_unit([source])
        batch = next(read_unit(unit, policy=policy, sample_rate=sample_rate, batch_size=batch_size))
        if not batch.dead or batch.clips:
            return replace(batch, last=True)
    raise _unreadable(batch.dead[0].uri, batch.dead[0].message, "Name audio files.")


def report_run(
    output: str, plan: UnitPlan, *, max_dead_letters: float, rows: str, left_out: int, done: Tally | None
) -> dict[str, Any]:
    """The report of a job whose `run.json` is written.

    Args:
        output: the results directory.
        plan: what was planned.
        max_dead_letters: share of inputs that may fail.
        rows: what the rows are, `captions` or `labels`.
        left_out: files in the folders that are not named like audio.
        done: what this run of the job has done, where workers on this machine noted it.

    Raises:
        MissingInputError: not one input could be read.
    """
    run = files.read_json(files.join(output, RUN_FILE))
    counts = run["counts"]
    if counts["dead_letters"] and not counts[rows]:
        _refuse_unreadable(output, run)
    computed = sum(count_recordings(unit.sources) for unit in plan.pending)
    problems = []
    if counts["inputs"] != counts[rows] + counts["dead_letters"] + counts["skipped"]:
        problems.append(f"The counts do not add up: {counts}.")
    tried = counts["inputs"] - counts["skipped"]
    problems += too_many(counts["dead_letters"], tried, share=max_dead_letters, what="inputs", where=output)
    return {
        "output": output,
        "done_before": plan.finished,
        "counts": counts,
        "dead_letter_codes": run["dead_letter_codes"],
        "skipped_codes": run.get("skipped_codes", {}),
        "sources": plan.taken_over + computed,
        "left_out": left_out,
        "taken_over": plan.taken_over,
        "computed": computed,
        "vanished": {"count": plan.vanished, "first": [_name(*name) for name in plan.first_vanished]},
        "wall_time_s": run["wall_time_s"],
        "stage_times_s": run["stage_times_s"],
        **({"speed": _speed(done, run["wall_time_s"])} if done and done.done and done.audio_s else {}),
        "problems": problems,
    }


def _speed(done: Tally, seconds: float) -> dict[str, Any]:
    """How fast a job was, its start included; a real-time factor of 0.1 is ten times as fast as listening."""
    return {
        "clips": done.done,
        "audio_s": round(done.audio_s, 3),
        "clips_per_s": round(done.done / max(seconds, 1e-9), 3),
        "real_time_factor": seconds / done.audio_s,
    }


def _name(uri: str, member: str | None) -> str:
    return uri if member is None else f"{uri} ({member})"


def _refuse_unreadable(output: str, run: dict[str, Any]) -> None:
    """Audio of which nothing could be read is a mistake in --audio, not a share of failures."""
    part = next(part for part in read_parts(output, run, DEAD_LETTERS) if part["rows"])
    letter = files.read_table(files.join(output, part["path"])).slice(0, 1).to_pylist()[0]
    if letter["stage"] == READ_AUDIO:
        remedy = f"Name audio files; {files.join(output, 'dead_letters')} lists every input and why it failed."
        raise _unreadable(letter["uri"], letter["message"], remedy)


def _unreadable(uri: str, message: str, remedy: str) -> MissingInputError:
    return MissingInputError(f"--audio holds nothing that can be used; {uri!r}, for one: {message}", remedy)


def show_run(report: dict[str, Any], *, rows: str, done: str) -> None:
    """Print a report for a person; `done` is what became of the sources ("tagged")."""
    console = plain_console()
    if report["done_before"]:
        console.print(f"These sources were {done} with these options before: nothing to do.")
    elif report["taken_over"]:
        console.print(f"{report['taken_over']:,} of {report['sources']:,} recordings were {done} by an earlier run.")
    table = Table("inputs", rows, "dead letters", "skipped", "seconds", title=report["output"])
    numbers = [f"{report['counts'][name]:,}" for name in ("inputs", rows, "dead_letters", "skipped")]
    table.add_row(*numbers, f"{report['wall_time_s']:.1f}")
    console.print(table)
    if speed := report.get("speed"):
        done_now = f"{speed['clips']:,} clips, {in_words(speed['audio_s'])} of sound"
        rate = f"{speed['clips_per_s']:,.1f} clips a second, real-time factor {speed['real_time_factor']:.3g}"
        console.print(f"{done_now}: {rate}")
    for code, count in report["skipped_codes"].items():
        console.print(f"  {count:,} x {code} left out")
    if vanished := report["vanished"]["count"]:
        console.print(
            f"  {vanished:,} recordings of an earlier run are no longer there ({', '.join(report['vanished']['first'])}"
            f"{', ...' if vanished > NAMED else ''}); their rows are kept",
        )
    for code, count in report["dead_letter_codes"].items():
        console.print(f"  {count:,} x {code}")
    if report["dead_letter_codes"]:
        console.print(f"  each with its reason in {files.join(report['output'], DEAD_LETTERS)}", soft_wrap=True)
