r"""caption: recordings -> captions, contexts and scores, one row a clip.

::

    sonogloss caption recording.wav

    sonogloss caption --audio 'gs://BUCKET/audio/**/*.flac' --datastore gs://BUCKET/store \
        --output gs://BUCKET/results --runner=DataflowRunner --project=P --region=R --temp_location=gs://BUCKET/tmp
"""

from __future__ import annotations

import shlex
from typing import Any

from sonogloss.pipelines.config.captioning import CaptionConfig
from sonogloss.pipelines.config.parser import command
from sonogloss.pipelines.running.audio_job import run_audio_job
from sonogloss.pipelines.running.caption_job import prepare
from sonogloss.pipelines.running.dry_run import show_dry_run
from sonogloss.pipelines.running.ownership import refuse_foreign_exports
from sonogloss.pipelines.running.print_captions import export, formatted, print_captions
from sonogloss.pipelines.running.report import show_run
from sonogloss.pipelines.running.terminal import plain, plain_console, say
from sonogloss.transforms.write_rows import CaptionRows

CHECKED = {"sample": "the size and a sample of every file", "full": "every byte"}
"""What was compared with the datastore's manifest, by `--check`."""


@command(CaptionConfig)
def caption(config: CaptionConfig) -> dict[str, Any]:
    """Caption recordings; without an output the captions are printed.

    Returns:
        The report: `output`, `counts`, `dead_letter_codes`, `taken_over` and `computed` (recordings), `vanished`,
        `done_before`, times, `datastore_checked` (how much of it), `problems`; of a dry run `sources`, `units` and the
        `rows` of the first source; without an output `rows` and `dead_letters`.

    Raises:
        InputError: an option or an input makes the job impossible.
    """
    if config.output is None:
        return print_captions(config)
    if config.format is not None:
        refuse_foreign_exports(str(config.output))
    report = run_audio_job(config, lambda: prepare(config))
    if config.datastore is not None and not report.get("done_before"):
        report["datastore_checked"] = CHECKED[config.store_check]
    if config.format is not None and not config.dry_run:
        report["exports"] = export(str(config.output), config.format)
    return report


def show(report: dict[str, Any]) -> None:
    """Print the report for a person."""
    if report.get("dry_run"):
        show_dry_run(report, _line)
    elif "format" in report:
        for letter in report["dead_letters"]:
            say(f"{letter['uri']}: {letter['code']}: {letter['message']}")
        for line in formatted(report["rows"], report["format"]).splitlines():
            print(plain(line) if report["format"] == "txt" else line)
    elif "job" not in report:  # a job that was left was named when it was submitted
        show_run(report, rows=CaptionRows.folder, done="captioned")
        if checked := report.get("datastore_checked"):
            plain_console().print(f"Checked of the datastore: {checked}.", markup=False)
        if exports := report.get("exports"):
            more = f" and {len(exports) - 1:,} more" if len(exports) > 1 else ""
            plain_console().print(f"Exported: {exports[0]}{more}", soft_wrap=True)
        plain_console().print(f"Next: sonogloss report {shlex.quote(report['output'])}", soft_wrap=True)


def _line(row: dict[str, Any]) -> str:
    keywords = f"  [{', '.join(row['keywords'])}]" if row["keywords"] else ""
    return f"{row['caption']}  ({row['clap_score']:.2f}){keywords}"
