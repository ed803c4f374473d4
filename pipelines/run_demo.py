"""demo: every step on the embedded models, from nothing: sounds, a datastore, captions, metrics."""

from __future__ import annotations

import io
import json
import time
import wave
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.table import Table

from sonogloss import files
from sonogloss.pipelines.build_datastore import build_datastore
from sonogloss.pipelines.caption_audio import caption
from sonogloss.pipelines.config.evaluation import DemoConfig
from sonogloss.pipelines.config.parser import command
from sonogloss.pipelines.evaluate_captions import evaluate
from sonogloss.pipelines.report_page import report
from sonogloss.pipelines.running.inputs import DEMO_FILE
from sonogloss.pipelines.running.terminal import plain_console
from sonogloss.records import FloatArray
from sonogloss.soundscapes import RATE, Scene, caption_dump, references, render_scene, sample_scene
from sonogloss.transforms.commit_run import RUN_FILE, read_parts

FIRST_SEED = 20_000_000  # far from the scenes that the pocket models learned from
REFERENCES = 5


@command(DemoConfig)
def demo(config: DemoConfig) -> dict[str, Any]:
    """Synthesize soundscapes with a known timeline, caption them, and compare.

    The output holds `audio`, `captions.txt`, `references.jsonl`, `datastore`, `results`, `metrics` and `report.html`.

    Returns:
        The report: `page`, `rows` (file, events, caption, context, score), `corpus` metrics, `seconds`, `problems`.

    Raises:
        InputError: the output cannot be written, or the embedded models are not installed.
    """
    started = time.monotonic()
    output = str(config.output)
    scenes = _write_recordings(output, [sample_scene(FIRST_SEED + number) for number in range(config.scenes)])
    files.write_json(files.join(output, DEMO_FILE), {"format": "sonogloss-demo", "first_seed": FIRST_SEED})
    dump = files.join(output, "captions.txt")
    lines = caption_dump(config.captions, FIRST_SEED)
    files.write_bytes(dump, "".join(f"{line}\n" for line in lines).encode())
    store, results = files.join(output, "datastore"), files.join(output, "results")
    built = build_datastore(
        captions=dump,
        output=store,
        clap=config.clap,
        source="sonogloss soundscapes",
        license="Apache-2.0",
        overwrite=True,
        workers=config.workers,
        beam_args=config.beam_args,
    )
    captioned = caption(
        audio=[files.join(output, "audio", name) for name in scenes],
        datastore=store,
        output=results,
        captioner=config.captioner,
        clap=config.clap,
        overwrite=True,
        workers=config.workers,
        beam_args=config.beam_args,
    )
    scored = evaluate(results=results, references=files.join(output, "references.jsonl"), output=output, overwrite=True)
    page = files.join(output, "report.html")
    report(results=results, references=files.join(output, "references.jsonl"), output=page)
    return {
        "output": output,
        "page": page,
        "rows": _rows(results, scenes),
        "corpus": scored["corpus"],
        "captions_in_datastore": built["counts"]["kept"],
        "counts": captioned["counts"],
        "seconds": round(time.monotonic() - started, 1),
        "problems": built["problems"] + captioned["problems"] + scored["problems"],
    }


def _write_recordings(output: str, scenes: Sequence[Scene]) -> dict[str, Scene]:
    """The scenes as WAV files, and their references; returns the scenes by file name."""
    by_name: dict[str, Scene] = {}
    lines = []
    for number, scene in enumerate(scenes, 1):
        name = f"{number:02d}-{'-'.join(event.replace(' ', '_') for event in scene.names)}.wav"
        files.write_bytes(files.join(output, "audio", name), wav(render_scene(scene)))
        by_name[name] = scene
        lines.append(json.dumps({"file_name": name, "references": references(scene, REFERENCES)}, ensure_ascii=False))
    files.write_bytes(files.join(output, "references.jsonl"), ("\n".join(lines) + "\n").encode())
    return by_name


def wav(samples: FloatArray) -> bytes:
    """Mono samples in [-1, 1] at the soundscapes' rate as a 16-bit WAV file."""
    target = io.BytesIO()
    with wave.open(target, "wb") as handle:
        handle.setnchannels(1)
        handle.setsampwidth(2)
        handle.setframerate(RATE)
        handle.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return target.getvalue()


def _rows(results: str, by_name: dict[str, Scene]) -> list[dict[str, Any]]:
    run = files.read_json(files.join(results, RUN_FILE))
    rows = []
    for part in read_parts(results, run, "captions"):
        for row in files.read_table(files.join(results, part["path"])).to_pylist():
            name = files.base_name(row["uri"])
            rows.append(
                {
                    "file": name,
                    "events": [
                        {"name": event.name, "start_s": round(event.start_s, 2), "end_s": round(event.end_s, 2)}
                        for event in by_name[name].events
                    ],
                    "caption": row["caption"],
                    "context": row["contexts"][0]["text"] if row["contexts"] else "",
                    "clap_score": row["clap_score"],
                }
            )
    return sorted(rows, key=lambda row: row["file"])


def show(report: dict[str, Any]) -> None:
    """Print the report for a person, and what to try next."""
    console = plain_console()
    rows = Table(
        "file", "what sounds", "caption", "nearest in the datastore", "CLAP", title="Captions of synthetic scenes"
    )
    for row in report["rows"]:
        events = ", ".join(f"{event['name']} {event['start_s']:.1f}-{event['end_s']:.1f} s" for event in row["events"])
        rows.add_row(row["file"].partition("-")[0], events, row["caption"], row["context"], f"{row['clap_score']:.2f}")
    console.print(rows)
    metrics = Table(*(row["metric"] for row in report["corpus"]), title="Against what the timeline says")
    metrics.add_row(*(f"{row['value']:.3f}" for row in report["corpus"]))
    console.print(metrics)
    output = report["output"]
    console.print(
        f"{report['captions_in_datastore']:,} captions in the datastore; all done in {report['seconds']:.0f} s; "
        f"everything lies in {output}",
        soft_wrap=True,
    )
    console.print(f"Look and listen: open {report['page']} in a browser", soft_wrap=True)
    console.print()
    console.print("Next, on your own files:", style="bold")
    for line in (
        "sonogloss build-datastore --captions 'my-captions/*.txt' --output my-store",
        "sonogloss caption --audio 'my-recordings/**/*.wav' --datastore my-store --output my-results",
        f"sonogloss search {files.join(output, 'datastore')} --text 'a dog barks in the rain'",
        f"sonogloss inspect {files.join(output, 'results')}",
    ):
        console.print(f"  {line}", highlight=False, soft_wrap=True)
