r"""tune-labels: texts, or names alone -> label prompts for `classify`. Training uses no audio.

::

    sonogloss tune-labels --labels labels.txt --texts 'dumps/*.jsonl.gz' --text-column caption --output prompts
    sonogloss tune-labels --labels labels.txt --name-only --output prompts
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from rich.table import Table

from sonogloss import files
from sonogloss.clap import load_clap
from sonogloss.clap.device import choose_device
from sonogloss.errors import FormatError, MissingInputError, OptionError
from sonogloss.later_fields import values_that_count
from sonogloss.methods.labels import read_labels
from sonogloss.pipelines.config.parser import command
from sonogloss.pipelines.config.temporal import TuneLabelsConfig
from sonogloss.pipelines.running.caption_dumps import list_dumps
from sonogloss.pipelines.running.inputs import as_list, check_output
from sonogloss.pipelines.running.ownership import earlier_run
from sonogloss.pipelines.running.terminal import plain_console
from sonogloss.records import DeadLetter
from sonogloss.tagging.label_prompts import MANIFEST, load_label_prompts, save_label_prompts
from sonogloss.tagging.texts import LabelledTexts, name_only_texts, search_texts
from sonogloss.tagging.tune import CURVE
from sonogloss.tagging.tune import tune_labels as tune
from sonogloss.training.curve import print_line
from sonogloss.training.state import CHECKPOINT
from sonogloss.transforms.read_captions import ReadCount, SourceFile, read_captions

FEWEST = 16  # texts; a label for which search finds fewer gets texts made from its name as well
_NAMED = 10
_REPORTED = ("texts_by_label", "from_names", "unreadable")  # beside the training's own facts


@command(TuneLabelsConfig)
def tune_labels(config: TuneLabelsConfig) -> dict[str, Any]:
    """Learn label prompts from text.

    Returns:
        The report: `output`, `labels`, `texts` by label, `from_names` (labels that search found too few texts for),
        `unreadable` lines, `training`, `done_before`, `seconds`, `problems`.

    Raises:
        InputError: an option or an input makes the job impossible.
    """
    started, output = time.monotonic(), str(config.output)
    device = choose_device(config.device)
    names = read_labels(str(config.labels))
    if len(names) < 2:
        raise OptionError(f"--labels {str(config.labels)!r} holds fewer than two labels.", "Name more.")
    texts = as_list(config.texts)
    dumps = list_dumps(texts, option="--texts", text_columns=[config.text_column]).files if texts else ()
    phrases = _read_keywords(str(config.keywords)) if config.keywords is not None else None
    options = _options(config)
    done = earlier_run(output, MANIFEST, options, key="options", unfinished=CHECKPOINT, overwrite=config.overwrite)
    if done is not None and config.resume:
        return _report(output, load_label_prompts(output).training, 0.0, done_before=True)
    check_output(output)
    clap = load_clap(str(config.clap), device=device)
    files.check_writable(output)
    found = _make_texts(config, names, dumps, phrases)
    resume = config.resume and not config.overwrite
    for name in (MANIFEST,) if resume else (MANIFEST, CHECKPOINT, CURVE):
        if files.exists(files.join(output, name)):
            files.remove(files.join(output, name))
    prompts = tune(clap=clap, texts=found.texts, config=config.tuning, directory=output, resume=resume, log=print_line)
    training = {
        **prompts.training,
        "texts_by_label": found.texts.counts(),
        "from_names": found.from_names,
        "unreadable": found.unreadable,
    }
    save_label_prompts(replace(prompts, training=training), output, options=options)
    return _report(output, training, time.monotonic() - started)


def _options(config: TuneLabelsConfig) -> dict[str, Any]:
    """What makes two runs the same. Where one computes does not."""
    tuning = values_that_count(config.tuning)
    return {
        "labels": str(config.labels),
        "texts": as_list(config.texts),
        "text_column": config.text_column,
        "keywords": config.keywords,
        "name_only": config.name_only,
        "texts_per_label": config.texts_per_label,
        "clap": str(config.clap),
        "config": {name: list(value) if isinstance(value, tuple) else value for name, value in tuning.items()},
    }


@dataclass(frozen=True, kw_only=True)
class _Found:
    """Texts, the labels that got some made from their names, and the number of lines that could not be read."""

    texts: LabelledTexts
    from_names: list[str]
    unreadable: int = 0


def _make_texts(
    config: TuneLabelsConfig,
    names: Sequence[str],
    dumps: Sequence[SourceFile],
    phrases: Mapping[str, Sequence[str]] | None,
) -> _Found:
    """Texts made from the names, or found by search; labels with too few get some made from their names."""
    make = partial(name_only_texts, names, multi_label=config.multi_label, seed=config.seed)
    if config.name_only:
        texts = make(per_label=config.texts_per_label)
        return _Found(texts=texts, from_names=list(names))
    unreadable: list[DeadLetter] = []

    def captions() -> Iterator[str]:
        for item in (item for dump in dumps for item in read_captions(dump)):
            if isinstance(item, DeadLetter):
                unreadable.append(item)
            elif not isinstance(item, ReadCount):
                yield item[1].text

    texts = search_texts(
        captions(), names, per_label=config.texts_per_label, multi_label=config.multi_label, keywords=phrases
    )
    poor = [label for label, count in texts.counts().items() if count < FEWEST]
    if len(poor) == len(names):
        raise OptionError(
            f"--texts: no label has {FEWEST} captions that hold its words.",
            "Give more captions or --keywords, or learn with --name-only.",
        )
    if poor:
        few = min(FEWEST, config.texts_per_label)
        texts = texts.join(make(per_label=few, only=poor))
    print_line(f"{len(texts.texts):,} texts; {len(poor)} labels have some made from their names")
    return _Found(texts=texts, from_names=poor, unreadable=len(unreadable))


def _read_keywords(path: str) -> Mapping[str, Sequence[str]]:
    if not files.exists(path):
        raise MissingInputError(f"--keywords {path!r} does not exist.", "Check the path.")
    value = files.read_json(path)
    if not isinstance(value, dict) or not all(
        isinstance(phrases, list) and phrases and all(isinstance(phrase, str) for phrase in phrases)
        for phrases in value.values()
    ):
        raise FormatError(f"--keywords {path!r} is not an object of lists of phrases.", 'Write {"dog": ["bark", ...]}.')
    return value


def _report(output: str, training: Mapping[str, Any], seconds: float, *, done_before: bool = False) -> dict[str, Any]:
    return {
        "output": output,
        "done_before": done_before,
        "labels": len(training["texts_by_label"]),
        "texts": training["texts_by_label"],
        "from_names": training["from_names"],
        "unreadable": training["unreadable"],
        "training": {name: training[name] for name in training if name not in _REPORTED},
        "seconds": round(seconds, 1),
        "problems": [],
    }


def show(report: dict[str, Any]) -> None:
    """Print the report for a person."""
    console = plain_console()
    if report["done_before"]:
        console.print("These prompts were learned with these options before: nothing to do.")
    training = report["training"]
    table = Table(
        "labels", "texts", "held out", "steps", "best after", "held-out loss", "seconds", title=report["output"]
    )
    table.add_row(
        f"{report['labels']:,}",
        f"{training['texts']:,}",
        f"{training['held_out_texts']:,}",
        f"{training['steps']:,}",
        f"{training['best_step']:,}",
        f"{training['held_out_loss']:.4f}",
        f"{report['seconds']:.0f}",
    )
    console.print(table)
    if report["unreadable"]:
        console.print(f"  {report['unreadable']:,} lines could not be read and were left out")
    if report["from_names"] and len(report["from_names"]) < report["labels"]:
        named = ", ".join(report["from_names"][:_NAMED]) + (" ..." if len(report["from_names"]) > _NAMED else "")
        console.print(
            f"  search found too few texts for {len(report['from_names'])} labels ({named}): some are made from names",
        )
