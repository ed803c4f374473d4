r"""train-captioner: captions alone -> a captioner, by any method that learns from text.

::

    sonogloss train-captioner --method drcap --captions 'dumps/*.jsonl.gz' --language-model my-llama --output captioner
    accelerate launch --num_processes 4 -m sonogloss.pipelines.command_line train-captioner ...      # one process a GPU

The captions are first made a datastore (`OUTPUT/corpus`), which also gives the contexts unless another one is named.
Then the decoder learns from it (`OUTPUT/training`), and at last the directory becomes a captioner.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sonogloss import files
from sonogloss.clap.device import choose_device
from sonogloss.errors import OutputError
from sonogloss.indexes import Datastore
from sonogloss.methods import NewCaptioner, save_captioner
from sonogloss.methods.labels import read_labels
from sonogloss.methods.manifest import NAME, read_manifest
from sonogloss.methods.plan import TrainingData
from sonogloss.methods.registry import load_object
from sonogloss.pipelines.build_datastore import build_datastore
from sonogloss.pipelines.config.parser import command
from sonogloss.pipelines.config.training import TrainCaptionerConfig, TrainCaptionerOptions
from sonogloss.pipelines.running.audio_validation import list_validation_audio
from sonogloss.pipelines.running.beam_options import beam_options
from sonogloss.pipelines.running.inputs import as_list, check_output
from sonogloss.pipelines.running.terminal import plain_console
from sonogloss.pipelines.running.training import (
    TrainingJob,
    check_plan,
    load_models,
    make_job,
    mine_neighbours,
    read_column,
    score_of,
    training_of,
)
from sonogloss.training.curve import draw_curve, print_line
from sonogloss.training.loop import MEAN_OF, TrainingRecord, train
from sonogloss.training.parallel import ProcessGroup, join_process_group
from sonogloss.training.precision import choose_precision

CORPUS, VALIDATION, TRAINING = "corpus", "validation", "training"
_RESULTS = ("steps", "loss", "validation_loss", "score", "best_step", "left_out")
_OLD_OPTIONS = {"projection_temperature": "temperature"}  # as records of earlier releases have them
_OLD_PRECISIONS = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


@command(TrainCaptionerConfig)
def train_captioner(config: TrainCaptionerOptions) -> dict[str, Any]:
    """Train a captioner from text.

    Returns:
        The report: `output`, `method`, `captions`, `steps`, `loss`, `validation_loss`, `score`, `best_step`, `seconds`,
        `samples_per_s`, `fingerprint`, `rank` (of this process), `problems`.

    Raises:
        InputError: an option or an input makes the job impossible, the loss is no longer finite, or a disk is full.
    """
    started, output = time.monotonic(), str(config.output)
    options = recorded_options(config)
    group = join_process_group(config.device)
    device = group.device or choose_device(config.device)
    if (report := _report_of_earlier_run(config, options)) is not None:
        return report
    inputs = _check_inputs(config, device)
    models = load_models(config, device)
    if inputs.datastore is not None:
        inputs.datastore.require_clap(models.identity.name, models.identity.fingerprint)
    if group.is_main_process and files.exists(files.join(output, NAME)):
        files.remove(files.join(output, NAME))  # without it the directory is unfinished
    corpora, problems = _build_corpora(config, group, device)
    corpus, directory = corpora[CORPUS], files.join(output, TRAINING)
    datastore = inputs.datastore or corpus
    job = make_job(config, models, corpus.count, inputs.labels)
    if group.is_main_process:
        files.check_writable(directory)
    data = _training_data(config, job, corpora, datastore, group)
    score, failed = score_of(job, inputs.recordings, datastore)
    problems += [f"{failed} recordings of --validation-audio could not be read."] if failed else []
    record = train(
        load_object(training_of(config)[1].examples)(job.plan, data),
        language_model=models.language_model.model,
        mapper=job.mapper,
        config=job.plan.training,
        directory=directory,
        score=score,
        resume=config.resume and not config.overwrite,
        log=print_line,
    )
    if group.is_main_process:
        draw_curve(directory, title=f"{config.method}, {files.base_name(output)}")
        _save(config, job, record, options)
    group.barrier()
    return _report(config, options, started, corpus.count, record, problems) | {"rank": group.rank}


def recorded_options(config: TrainCaptionerOptions) -> dict[str, Any]:
    """The options that make two trainings the same, as the captioner's record has them."""
    options = config.as_json()
    for name in ("device", "max_dead_letters"):
        del options[name]
    return {name: value for name, value in options.items() if value is not None and value != []}


@dataclass(frozen=True, kw_only=True)
class _Inputs:
    """What is read before any model: labels, the datastore, and the references of validation recordings by uri."""

    labels: tuple[str, ...]
    datastore: Datastore | None
    recordings: Mapping[str, list[str]]


def _check_inputs(config: TrainCaptionerOptions, device: str) -> _Inputs:
    """Find the mistakes that need no model."""
    beam_options(config.beam_args, workers=config.workers)
    check_output(str(config.output))
    check_plan(config)
    choose_precision(config.precision or "auto", device)
    for dumps in (config.captions, config.validation):
        files.expand(as_list(dumps), option="--captions" if dumps is config.captions else "--validation")
    method, _ = training_of(config)
    recordings: Mapping[str, list[str]] = {}
    if config.validation_references is not None:
        recordings = list_validation_audio(as_list(config.validation_audio), str(config.validation_references))
    return _Inputs(
        labels=read_labels(str(config.labels or "pocket")) if method.embed_labels is not None else (),
        datastore=None if config.datastore is None else Datastore.open(str(config.datastore), check=config.store_check),
        recordings=recordings,
    )


def _build_corpora(
    config: TrainCaptionerOptions, group: ProcessGroup, device: str
) -> tuple[dict[str, Datastore], list[str]]:
    """The captions and the held-out captions as datastores, and what went wrong with them."""
    corpora: dict[str, Datastore] = {}
    problems: list[str] = []
    for name, dumps in ((CORPUS, as_list(config.captions)), (VALIDATION, as_list(config.validation))):
        if not dumps:
            continue
        path = files.join(str(config.output), name)
        if group.is_main_process:
            built = build_datastore(
                captions=dumps,
                output=path,
                clap=config.clap,
                text_column=config.text_column,
                overwrite=config.overwrite,
                max_dead_letters=config.max_dead_letters,
                device=device,
                workers=config.workers,
                beam_args=config.beam_args,
            )
            problems += built["problems"]
        group.barrier()
        corpora[name] = Datastore.open(path)
    return corpora, problems


def _training_data(
    config: TrainCaptionerOptions,
    job: TrainingJob,
    corpora: Mapping[str, Datastore],
    datastore: Datastore,
    group: ProcessGroup,
) -> TrainingData:
    """What a method makes its examples from."""
    corpus, language_model = corpora[CORPUS], job.models.language_model
    neighbours = mine_neighbours(
        job.plan,
        corpus,
        datastore,
        output=files.join(str(config.output), TRAINING),
        group=group,
        options=beam_options(config.beam_args, workers=config.workers),
    )
    return TrainingData(
        captions=corpus,
        datastore=datastore,
        tokenizer=language_model.tokenizer,
        max_tokens=language_model.max_positions,
        validation=corpora.get(VALIDATION),
        labels=job.labels,
        neighbours=neighbours,
        targets={tag: read_column(corpus, column) for tag, column in config.language_columns.items()} or None,
    )


def _report_of_earlier_run(config: TrainCaptionerOptions, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """The report of a captioner that these options have made.

    Raises:
        OutputError: the output holds a captioner that was made with others.
    """
    output = str(config.output)
    path = files.join(output, NAME)
    if not files.exists(path):
        return None
    training = files.read_json(path).get("training", {})
    same = _in_todays_words(training.get("options") or {}) == options
    if same and config.resume and not config.overwrite:
        results = {name: training.get(name) for name in _RESULTS}
        return {
            "output": output,
            "done_before": True,
            "rank": 0,
            **options,
            **results,
            **_fingerprint(output),
            "problems": [],
        }
    if not (same or config.overwrite):
        raise OutputError(
            f"--output {output!r} holds a captioner that was made with other options.",
            "Name another directory, or replace it with --overwrite.",
        )
    return None


def _in_todays_words(options: Mapping[str, Any]) -> dict[str, Any]:
    renamed = {_OLD_OPTIONS.get(name, name): value for name, value in options.items()}
    if (precision := renamed.get("precision")) in _OLD_PRECISIONS:
        renamed["precision"] = _OLD_PRECISIONS[precision]
    return renamed


def _save(config: TrainCaptionerOptions, job: TrainingJob, record: TrainingRecord, options: Mapping[str, Any]) -> None:
    plan = job.plan
    save_captioner(
        str(config.output),
        NewCaptioner(
            clap=job.models.identity,
            language_model=record.language_model,
            tokenizer=job.models.language_model.tokenizer,
            mapper=job.mapper,
            prompt=plan.prompt,
            projection=plan.projection,
            contexts=plan.settings.contexts,
            decode=plan.decode,
            labels=job.labels,
            training=record.as_json() | {"settings": asdict(plan.settings), "options": dict(options)},
            base=None if plan.training.tune == "all" else job.models.base,
        ),
    )


def _fingerprint(output: str) -> dict[str, str]:
    return {"fingerprint": read_manifest(output).fingerprint}


def _report(
    config: TrainCaptionerOptions,
    options: Mapping[str, Any],
    started: float,
    count: int,
    record: TrainingRecord,
    problems: Sequence[str],
) -> dict[str, Any]:
    return {
        "output": str(config.output),
        "done_before": False,
        **options,
        "learnt_from": count,
        **{name: getattr(record, name) for name in _RESULTS},
        "seconds": round(time.monotonic() - started, 1),
        "samples_per_s": round(record.samples / max(record.seconds, 1e-9), 1),
        **_fingerprint(str(config.output)),
        "problems": list(problems),
    }


def show(report: dict[str, Any]) -> None:
    """Print the report for a person; of several processes one does."""
    if report["rank"]:
        return
    console = plain_console()
    if report["done_before"]:
        console.print(f"{report['output']} was trained with these options before: nothing to do.")
    seen = [f"mean loss of the last {MEAN_OF} steps {report['loss']:.4f} nats a token"]
    if report["validation_loss"] is not None:
        seen.append(f"validation {report['validation_loss']:.4f}")
    if report["score"] is not None:
        seen.append(f"CIDEr-D {report['score']:.4f}")
    if report["best_step"] is not None:
        seen.append(f"best after step {report['best_step']:,}")
    console.print(f"{report['output']}: {report['method']}, {report['steps']:,} steps, {', '.join(seen)}")
    console.print(f"fingerprint {report['fingerprint']}", highlight=False)
