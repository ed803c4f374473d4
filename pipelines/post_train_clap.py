r"""post-train-clap: labelled clips -> a CLAP that knows before from after (TeminAL).

::

    sonogloss post-train-clap --clap laion:630k-best.pt --clips esc50 --folds 1 2 3 4 --output ordered-clap

A Beam job measures the clips once (`OUTPUT/training/clips`), both stages train in this process (`OUTPUT/training`), and
last the directory becomes an ordinary CLAP: `--clap` takes it like any other.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import apache_beam as beam

from sonogloss import __version__, files
from sonogloss.audio.mel import MelSettings
from sonogloss.clap.device import choose_device
from sonogloss.errors import MissingInputError, OptionError
from sonogloss.pipelines.config.parser import command
from sonogloss.pipelines.config.temporal import PostTrainClapConfig
from sonogloss.pipelines.running.beam_options import beam_options
from sonogloss.pipelines.running.inputs import as_list, check_output, note_pocket, too_many
from sonogloss.pipelines.running.ownership import earlier_run
from sonogloss.pipelines.running.progress import Work
from sonogloss.pipelines.running.run_beam import make_pipeline, progress_file, run_pipeline
from sonogloss.pipelines.running.terminal import plain_console
from sonogloss.temporal.clips import SOUNDSCAPES, LabelledClip, hold_out_classes, read_collection, select_folds
from sonogloss.temporal.features import ClipPowers, read_part
from sonogloss.temporal.post_train import MEAN_OF, PostTrainRecord, clap_card, post_train
from sonogloss.temporal.towers import Towers
from sonogloss.training.curve import draw_curve, print_line
from sonogloss.transforms.measure_clips import COMMITTED, MeasureClips, cut_clip_units

TRAINING, CLIPS, RECORD = "training", "training/clips", "post_training.json"


@command(PostTrainClapConfig)
def post_train_clap(config: PostTrainClapConfig) -> dict[str, Any]:
    """Post-train a CLAP.

    Returns:
        The report: `output`, `base`, `clips`, `classes`, `validation_clips`, `losses` by stage, `validation_order`,
        `done_before`, `seconds`, `problems`.

    Raises:
        InputError: an option or an input makes the job impossible.
    """
    began, output = time.monotonic(), str(config.output)
    options, device = beam_options(config.beam_args, workers=config.workers), choose_device(config.device)
    asked = _asked(config)
    done = earlier_run(output, RECORD, asked, key="asked", unfinished=TRAINING, overwrite=config.overwrite)
    if done is not None and config.resume:
        return _report(output, done, began, done_before=True)
    check_output(output)
    clips = choose_clips(config)
    if folders := [name for name in as_list(config.clips) if name != SOUNDSCAPES]:
        note_pocket(str(config.clap), folders)
    towers = Towers(str(config.clap), config.training, device)
    base = {"name": str(config.clap), "fingerprint": towers.clap.fingerprint}
    files.check_writable(files.join(output, TRAINING))
    if files.exists(files.join(output, RECORD)):
        files.remove(files.join(output, RECORD))  # from here on the directory is unfinished
    measured = _measure(options, clips, config, towers.mel)
    record = _train(config, towers, measured)
    towers.save(output, clap_card(base, as_list(config.clips), record))
    story = {
        "format": "sonogloss-post-training",
        "format_version": 1,
        "created_by": f"sonogloss {__version__}",
        "base": base,
        "asked": asked,
        **record.as_json(),
    }
    files.write_json(files.join(output, RECORD), story)
    failed = len(measured["dead_letters"])
    problems = too_many(
        failed, len(clips), share=config.max_dead_letters, what="clips", where=files.join(output, CLIPS)
    )
    return _report(output, story, began, problems)


def _asked(config: PostTrainClapConfig) -> dict[str, Any]:
    """What makes two runs the same. Where one computes does not."""
    return {
        "clips": as_list(config.clips),
        "clap": str(config.clap),
        "per_class": config.per_class,
        "folds": list(config.folds),
        "held_out_classes": config.held_out_classes,
        "config": json.loads(json.dumps(asdict(config.training))),
    }


def choose_clips(config: PostTrainClapConfig) -> list[LabelledClip]:
    """The clips to learn from, of all collections.

    Raises:
        InputError: a collection cannot be used.
    """
    found: list[LabelledClip] = []
    for name in dict.fromkeys(as_list(config.clips)):
        clips = read_collection(name, split="train", per_class=config.per_class)
        if config.folds and any(clip.fold is not None for clip in clips):
            clips = select_folds(clips, set(config.folds))
        found += hold_out_classes(clips, config.held_out_classes)[0]
    if config.folds and not any(clip.fold is not None for clip in found):
        raise OptionError("--folds: none of the collections has folds.", "Leave it out, or add a column fold.")
    if len({clip.label for clip in found}) < 2:
        raise OptionError(
            f"--clips leaves {len(found)} clips of fewer than two classes.",
            "Name more folds, or hold out fewer classes.",
        )
    return found


def _measure(
    options: Any, clips: Sequence[LabelledClip], config: PostTrainClapConfig, mel: MelSettings
) -> dict[str, Any]:
    """The content of `clips.json`: from an earlier run, or of a job that runs now."""
    output, pairs = files.join(str(config.output), CLIPS), config.pairs
    shape = [sorted([clip.id, clip.uri, clip.label] for clip in clips), asdict(mel), pairs.level_db]
    facts = {"digest": hashlib.sha256(json.dumps(shape).encode()).hexdigest()}
    path = files.join(output, COMMITTED)
    if config.resume and not config.overwrite and files.exists(path):
        content: dict[str, Any] = files.read_json(path)
        if content.get("digest") == facts["digest"]:
            return content
    units = cut_clip_units(clips)
    with progress_file(options) as progress:
        pipeline = make_pipeline(options)
        (
            pipeline
            | "ListClips" >> beam.Create(units)
            | "SpreadClips" >> beam.Reshuffle()
            | "MeasureClips" >> MeasureClips(output, mel, pairs, facts, progress)
        )
        run_pipeline(pipeline, noun="clips measured", path=progress, work=Work(units=len(units)))
    written: dict[str, Any] = files.read_json(path)
    return written


def _train(config: PostTrainClapConfig, towers: Towers, measured: dict[str, Any]) -> PostTrainRecord:
    """Both stages on the measured clips, and the picture of their loss."""
    output = str(config.output)
    folder, directory = files.join(output, CLIPS), files.join(output, TRAINING)
    powers = ClipPowers([read_part(folder, name) for name in measured["parts"]])
    if len({clip.label for clip in powers.clips}) < 2:
        dead = measured["dead_letters"]
        raise MissingInputError(
            f"--clips leaves {len(powers)} readable clips of fewer than two classes"
            + (f"; {dead[0]['uri']!r}, for one: {dead[0]['message']}" if dead else "."),
            f"{files.join(folder, COMMITTED)} lists what failed.",
        )
    resume = config.resume and not config.overwrite
    record = post_train(towers, powers, config.training, directory, resume=resume, log=print_line)
    draw_curve(directory, title=files.base_name(output), unit="nats", score="validation_order")
    return record


def _report(
    output: str, story: dict[str, Any], began: float, problems: Sequence[str] = (), *, done_before: bool = False
) -> dict[str, Any]:
    shown = ("base", "clips", "classes", "validation_clips", "losses", "validation_order")
    return {
        "output": output,
        "done_before": done_before,
        **{name: story[name] for name in shown},
        "seconds": round(time.monotonic() - began, 3),
        "problems": list(problems),
    }


def show(report: dict[str, Any]) -> None:
    """Print the report for a person."""
    console = plain_console()
    if report["done_before"]:
        console.print(f"{report['output']} was made with these options before: nothing to do.")
    console.print(
        f"{report['output']}: {report['base']['name']} after {report['clips']:,} clips of {report['classes']} classes",
    )
    for stage, loss in report["losses"].items():
        console.print(f"  stage {stage}: mean loss of the last {MEAN_OF} steps {loss:.3f} nats")
    if report["validation_order"] is not None:
        console.print(
            f"  {report['validation_clips']:,} held-out clips: {report['validation_order']:.0%} of their sequences are "
            "nearer to their own order than to the other (chance: 50%)"
        )
