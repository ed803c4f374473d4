r"""tune-labels: texts, or names alone -> label prompts for `classify`. No sound is heard.

::

    sonogloss tune-labels --labels labels.txt --texts 'dumps/*.jsonl.gz' --text-column caption --output prompts
    sonogloss tune-labels --labels labels.txt --name-only --output prompts
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from rich.console import Console
from rich.table import Table

from sonogloss import files
from sonogloss.clap import load_clap
from sonogloss.errors import FormatError, MissingInputError, OptionError, OutputError
from sonogloss.methods.labels import read_labels
from sonogloss.pipelines.build_datastore import list_dumps
from sonogloss.pipelines.checks import as_list, choose_device
from sonogloss.records import DeadLetter
from sonogloss.tagging.config import TuningConfig
from sonogloss.tagging.label_prompts import MANIFEST, load_label_prompts, save_label_prompts
from sonogloss.tagging.texts import LabelledTexts, name_only_texts, search_texts
from sonogloss.tagging.tune import CURVE
from sonogloss.tagging.tune import tune_labels as tune
from sonogloss.training.checkpoint import NAME as CHECKPOINT
from sonogloss.transforms.read_captions import ReadCount, SourceFile, check_source_file, read_captions

TEXTS_PER_LABEL = 64
FEWEST = 16  # texts; a label for which search finds fewer gets texts from its name besides
_NAMED = 10
_REPORTED = ("texts_by_label", "from_names", "unreadable")  # beside the training's own facts


def tune_labels(
    *,
    labels: str,
    output: str,
    texts: str | Sequence[str] = (),
    text_column: str = "text",
    keywords: str | None = None,
    name_only: bool = False,
    texts_per_label: int = TEXTS_PER_LABEL,
    clap: str = "pocket",
    multi_label: bool = False,
    slots: int | None = None,
    initial: str | None = None,
    noise_cosine: float | None = None,
    keep: float | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    seed: int | None = None,
    resume: bool = True,
    overwrite: bool = False,
    device: str = "auto",
    beam_args: Sequence[str] = (),
) -> dict[str, Any]:
    """Learn label prompts from text.

    Args:
        labels: `pocket`, or a file of names.
        output: the prompts' directory; it also receives `curve.csv` and the checkpoint.
        texts: dumps of captions to search: files, folders or globs.
        text_column: the dumps' column with the captions.
        keywords: a JSON file, phrases by label, to search for instead of the label's words.
        name_only: make texts from the names instead.
        texts_per_label: texts a label, at most.
        clap: the CLAP whose text tower learns to be prompted.
        multi_label: a text may name several labels.
        slots, initial, noise_cosine, keep, epochs, steps, seed: see
            :class:`~sonogloss.tagging.config.TuningConfig`, whose values hold where these are None.
        resume: go on where an earlier run of the same options was stopped.
        overwrite: replace prompts that were learned with other options.
        device: `cpu`, `cuda`, `auto`.
        beam_args: accepted for the sake of equal commands; this one runs in this process.

    Returns:
        The report: `output`, `labels`, `texts` by label, `from_names` (labels whose texts search did not find),
        `unreadable` lines, `training`, `problems`.

    Raises:
        InputError: an option or an input makes the job impossible.
    """
    started = time.time()
    if name_only == bool(as_list(texts)):
        raise OptionError(
            "--texts and --name-only exclude one another." if name_only else "There is nothing to learn from.",
            "Give either captions to search with --texts, or --name-only.",
        )
    if texts_per_label < 2:
        raise OptionError(f"--texts-per-label {texts_per_label} is too few.", "Give at least 2.")
    names = read_labels(labels)
    if len(names) < 2:
        raise OptionError(f"--labels {labels!r} holds one label, and there is nothing to tell it from.", "Name more.")
    wanted = {
        "slots": slots,
        "initial": initial,
        "noise_cosine": noise_cosine,
        "keep": keep,
        "epochs": epochs,
        "steps": steps,
        "seed": seed,
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    config = TuningConfig(multi_label=multi_label, **given)  # type: ignore[arg-type]  # values of several types
    dumps = _list_dumps(as_list(texts), text_column)
    options = {
        "labels": labels,
        "texts": as_list(texts),
        "text_column": text_column,
        "keywords": keywords,
        "name_only": name_only,
        "texts_per_label": texts_per_label,
        "clap": clap,
        "config": {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(config).items()},
    }
    if (done := _done_before(output, options, overwrite=overwrite, resume=resume)) is not None:
        return done
    model = load_clap(clap, device=choose_device(device))
    files.check_writable(output)

    def say(line: str) -> None:
        Console(stderr=True).print(line, markup=False, highlight=False)

    unreadable: list[DeadLetter] = []
    if name_only:
        corpus = name_only_texts(names, per_label=texts_per_label, multi_label=multi_label, seed=config.seed)
        from_names = list(names)
    else:
        corpus, from_names = _search(
            dumps, names, keywords=keywords, per_label=texts_per_label, config=config, unreadable=unreadable
        )
        say(f"{len(corpus.texts):,} texts, of which {len(from_names)} labels had to be given some from their names")
    prompts = tune(clap=model, texts=corpus, config=config, directory=output, resume=resume, log=say)
    training = {
        **prompts.training,
        "texts_by_label": corpus.counts(),
        "from_names": from_names,
        "unreadable": len(unreadable),
    }
    save_label_prompts(replace(prompts, training=training), output, options=options)
    return _report(output, training, time.time() - started)


def _list_dumps(texts: Sequence[str], text_column: str) -> list[SourceFile]:
    try:
        dumps = list_dumps(texts, source=None, text_column=text_column)
        for dump in dumps:
            check_source_file(dump)
    except (FormatError, MissingInputError) as error:
        raise type(error)(error.what.replace("--captions", "--texts"), error.remedy) from error
    return dumps


def _search(
    dumps: Sequence[SourceFile],
    names: Sequence[str],
    *,
    keywords: str | None,
    per_label: int,
    config: TuningConfig,
    unreadable: list[DeadLetter],
) -> tuple[LabelledTexts, list[str]]:
    """What search finds, and the labels for which that is too little, so that texts were made of their names."""

    def captions() -> Iterator[str]:
        for dump in dumps:
            for item in read_captions(dump):
                if isinstance(item, DeadLetter):
                    unreadable.append(item)
                elif not isinstance(item, ReadCount):
                    yield item[1].text

    phrases = _read_keywords(keywords) if keywords else None
    found = search_texts(captions(), names, per_label=per_label, multi_label=config.multi_label, keywords=phrases)
    poor = [label for label, count in found.counts().items() if count < FEWEST]
    if len(poor) == len(names):
        raise OptionError(
            f"--texts: no label has {FEWEST} captions that hold its words.",
            "Give more captions or --keywords, or learn with --name-only.",
        )
    if not poor:
        return found, []
    made = name_only_texts(
        names,
        per_label=min(FEWEST, per_label),
        multi_label=config.multi_label,
        seed=config.seed,
        only=poor,
    )
    return found.join(made), poor


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


def _done_before(output: str, options: Mapping[str, Any], *, overwrite: bool, resume: bool) -> dict[str, Any] | None:
    """The report of an earlier, finished run of the same options; removes what there is where all begins anew."""
    path = files.join(output, MANIFEST)
    if resume and not overwrite:
        if not files.exists(path):
            return None
        manifest = files.read_json(path)
        if isinstance(manifest, dict) and manifest.get("options") == options:
            return _report(output, load_label_prompts(output).training, 0.0) | {"done_before": True}
        raise OutputError(
            f"--output {output!r} holds label prompts that were learned with other options.",
            "Name another directory, or replace them with --overwrite.",
        )
    for name in (MANIFEST, CHECKPOINT, CURVE):
        if files.exists(files.join(output, name)):
            files.remove(files.join(output, name))
    return None


def _report(output: str, training: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    return {
        "output": output,
        "done_before": False,
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
    console = Console()
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
            f"  search found too little for {len(report['from_names'])} labels ({named}): their names gave texts",
            markup=False,
        )
