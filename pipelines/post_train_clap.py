r"""post-train-clap: labelled clips -> a CLAP that knows before from after (TeminAL).

::

    sonogloss post-train-clap --clap laion:630k-best.pt --clips esc50 --folds 1 2 3 4 --output ordered-clap

Clips are measured once by a Beam job (`OUTPUT/training/clips`), then both stages run here (`OUTPUT/training`), and at
last the directory becomes an ordinary CLAP: wherever `--clap` takes a directory, it takes this one.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import apache_beam as beam
from rich.console import Console

from sonogloss import __version__, files
from sonogloss.audio.mel import MelSettings
from sonogloss.errors import MissingInputError, OptionError, OutputError
from sonogloss.pipelines.running.beam_options import beam_options, share_cores
from sonogloss.pipelines.running.inputs import as_list, check_share, choose_device, too_many
from sonogloss.pipelines.running.progress import progress_file, run_pipeline
from sonogloss.temporal.card import clap_card
from sonogloss.temporal.clips import LabelledClip, hold_out_classes, read_collection, select_folds
from sonogloss.temporal.config import PostTrainConfig
from sonogloss.temporal.curve import draw_curve
from sonogloss.temporal.features import ClipPowers, read_part
from sonogloss.temporal.losses import TnceSettings
from sonogloss.temporal.post_train import post_train
from sonogloss.temporal.sequences import PairSettings
from sonogloss.temporal.towers import Towers
from sonogloss.transforms.measure_clips import COMMITTED, MeasureClips, cut_clip_units

TRAINING, CLIPS, RECORD = "training", "training/clips", "post_training.json"


def post_train_clap(
    *,
    clips: str | Sequence[str],
    output: str,
    clap: str = "pocket",
    stages: str = "A,B",
    per_class: int = 40,
    folds: Sequence[str] = (),
    held_out_classes: float = 0.0,
    crossfade: float = 0.0,
    level: float | None = None,
    overlay_level: float = 0.0,
    relations: Sequence[str] | None = None,
    wording: str | None = None,
    released_loss: bool = False,
    resume: bool = True,
    overwrite: bool = False,
    max_dead_letters: float = 0.05,
    device: str = "auto",
    beam_args: Sequence[str] = (),
    **numbers: Any,
) -> dict[str, Any]:
    """Post-train a CLAP.

    Args:
        clips: folders of labelled clips, or `soundscapes`; clips of two folders never meet in a pair.
        output: the new CLAP's directory.
        clap: the CLAP to begin with, in the layout of ClapModel or converted to it.
        stages: `A,B`, `A` or `B`.
        per_class: number of soundscapes of each class.
        folds: learn from the clips of these folds only.
        held_out_classes: share of the classes, chosen by name, that nothing is learnt from.
        crossfade: seconds over which one clip gives way to the next.
        level: RMS level in dB below full scale that clips are brought to; None leaves them.
        overlay_level: level of the second clip of an overlay, in dB relative to the first.
        relations: words between classes: `before`, `after`, `while`.
        wording: `published` for these words only, `varied` for others of the same meaning too.
        released_loss: compute the loss as the released code does.
        resume: go on where an interrupted run of the same options was.
        overwrite: replace what the directory holds.
        max_dead_letters: share of clips that may fail before the result counts as unsound.
        device: `cpu`, `cuda`, `auto`.
        beam_args: options for Beam, which measures the clips.
        **numbers: `alpha_same`, `alpha_cross`, `beta`, `weight`, and any other field of
            :class:`~sonogloss.temporal.config.PostTrainConfig`; None is its default.

    Returns:
        The report: `output`, `clips`, `classes`, `losses` by stage, `validation_order`, `seconds`, `problems`.

    Raises:
        InputError: an option or an input makes the job impossible.
    """
    began = time.time()
    options = beam_options(beam_args)
    check_share(max_dead_letters, "--max-dead-letters")
    check_share(held_out_classes, "--held-out-classes")
    config = make_config(
        numbers,
        stages=stages,
        pairs={
            "crossfade_s": crossfade,
            "level_db": level,
            "overlay_db": overlay_level,
            "relations": tuple(relations) if relations else None,
            "wording": wording,
        },
        released=released_loss,
    )
    names = as_list(clips)
    asked = {
        "clips": names,
        "clap": clap,
        "per_class": per_class,
        "folds": list(folds),
        "held_out_classes": held_out_classes,
        "config": json.loads(json.dumps(asdict(config))),
    }
    if (done := _done_before(output, asked, resume=resume, overwrite=overwrite)) is not None:
        return done
    chosen = choose_clips(names, per_class=per_class, folds=folds, held_out_classes=held_out_classes)
    towers = Towers(clap, config, choose_device(device))
    base = {"name": clap, "fingerprint": towers.clap.fingerprint}
    directory = files.join(output, TRAINING)
    files.check_writable(directory)
    share_cores(options)
    measured = _measure(
        options, chosen, files.join(output, CLIPS), towers.mel, config.pairs, anew=overwrite or not resume
    )
    powers = ClipPowers([read_part(files.join(output, CLIPS), name) for name in measured["parts"]])
    dead = measured["dead_letters"]
    if len({clip.label for clip in powers.clips}) < 2:
        raise MissingInputError(
            f"--clips leaves {len(powers)} readable clips of fewer than two classes"
            + (f"; {dead[0]['uri']!r}, for one: {dead[0]['message']}" if dead else "."),
            f"{files.join(output, CLIPS, COMMITTED)} lists what failed.",
        )
    record = post_train(towers, powers, config, directory, resume=resume and not overwrite, log=_tell)
    draw_curve(directory, title=files.base_name(output))
    towers.save(output, clap_card(base, names, record))
    story = {
        "format": "sonogloss-post-training",
        "format_version": 1,
        "created_by": f"sonogloss {__version__}",
        "base": base,
        "asked": asked,
        **record.as_json(),
    }
    files.write_json(files.join(output, RECORD), story)
    return _report(
        output,
        story,
        began,
        too_many(len(dead), len(chosen), share=max_dead_letters, what="clips", where=files.join(output, CLIPS)),
    )


def make_config(
    numbers: Mapping[str, Any], *, stages: str, pairs: Mapping[str, Any], released: bool
) -> PostTrainConfig:
    """The configuration of what was asked for; what was not, is the default.

    Raises:
        OptionError: a value cannot be used.
    """
    given = {name: value for name, value in numbers.items() if value is not None}
    loss = {name: given.pop(name) for name in ("alpha_same", "alpha_cross", "beta", "weight") if name in given}
    names = tuple(name.strip().upper() for name in stages.split(",") if name.strip())
    return PostTrainConfig(
        stages=names,
        loss=TnceSettings(**loss, released=released),
        pairs=PairSettings(**{name: value for name, value in pairs.items() if value is not None}),
        **given,
    )


def choose_clips(
    names: Sequence[str], *, per_class: int, folds: Sequence[str], held_out_classes: float
) -> list[LabelledClip]:
    """The clips to learn from, of all collections.

    Raises:
        InputError: a collection cannot be used.
    """
    found: list[LabelledClip] = []
    for name in dict.fromkeys(names):
        clips = read_collection(name, split="train", per_class=per_class)
        if folds and any(clip.fold is not None for clip in clips):
            clips = select_folds(clips, set(folds))
        found += hold_out_classes(clips, held_out_classes)[0] if held_out_classes else clips
    if folds and not any(clip.fold is not None for clip in found):
        raise OptionError("--folds: none of the collections has folds.", "Leave it out, or add a column fold.")
    if len({clip.label for clip in found}) < 2:
        raise OptionError(
            f"--clips leaves {len(found)} clips of fewer than two classes.",
            "Name more folds, or hold out fewer classes.",
        )
    return found


def _measure(
    options: Any, clips: list[LabelledClip], output: str, mel: MelSettings, settings: PairSettings, *, anew: bool
) -> dict[str, Any]:
    """The content of `clips.json`: from an earlier run, or of a job that runs now."""
    shape = [sorted([clip.id, clip.uri, clip.label] for clip in clips), asdict(mel), settings.level_db]
    facts = {"digest": hashlib.sha256(json.dumps(shape).encode()).hexdigest()}
    path = files.join(output, COMMITTED)
    if not anew and files.exists(path):
        content: dict[str, Any] = files.read_json(path)
        if content.get("digest") == facts["digest"]:
            return content
    units = cut_clip_units(clips)
    with progress_file(options) as progress:
        pipeline = beam.Pipeline(options=options)
        (
            pipeline
            | "ListClips" >> beam.Create(units)
            | "SpreadClips" >> beam.Reshuffle()
            | "MeasureClips" >> MeasureClips(output, mel, settings, facts, progress)
        )
        run_pipeline(pipeline, noun="clips measured", path=progress, total_units=len(units))
    written: dict[str, Any] = files.read_json(path)
    return written


def _done_before(output: str, asked: dict[str, Any], *, resume: bool, overwrite: bool) -> dict[str, Any] | None:
    path = files.join(output, RECORD)
    if not files.exists(path):
        return None
    story = files.read_json(path)
    same = story.get("asked") == asked
    if same and resume and not overwrite:
        return _report(output, story, time.time(), []) | {"done_before": True}
    if not (same or overwrite):
        raise OutputError(
            f"--output {output!r} holds a CLAP that was made with other options.",
            "Name another directory, or replace it with --overwrite.",
        )
    files.remove(path)
    return None


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _report(output: str, story: dict[str, Any], began: float, problems: list[str]) -> dict[str, Any]:
    shown = ("base", "clips", "classes", "validation_clips", "losses", "validation_order")
    return {
        "output": output,
        "done_before": False,
        **{name: story[name] for name in shown},
        "seconds": round(time.time() - began, 3),
        "problems": problems,
    }


def show(report: dict[str, Any]) -> None:
    """Print the report for a person."""
    console = Console()
    if report["done_before"]:
        console.print(f"{report['output']} was made with these options before: nothing to do.", markup=False)
    console.print(
        f"{report['output']}: {report['base']['name']} after {report['clips']:,} clips of {report['classes']} classes",
        markup=False,
    )
    for stage, loss in report["losses"].items():
        console.print(f"  stage {stage}: loss {loss:.3f}")
    if report["validation_order"] is not None:
        console.print(
            f"  of {report['validation_clips']:,} clips kept apart, {report['validation_order']:.0%} of the sequences "
            "are nearer to their own order than to the other"
        )
