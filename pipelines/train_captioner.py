r"""train-captioner: captions alone -> a captioner, by DRCap or by soft and hard prompts.

::

    sonogloss train-captioner --method drcap --captions 'dumps/*.jsonl.gz' --language-model my-llama --output captioner
    accelerate launch --num_processes 4 -m sonogloss.pipelines.command_line train-captioner ...      # one process a GPU

The captions are first made a datastore (`OUTPUT/corpus`), which also gives the contexts unless another one is named.
Then the decoder learns from it (`OUTPUT/training`), and at last the directory becomes a captioner.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from rich.console import Console

from sonogloss import files
from sonogloss.clap import load_clap
from sonogloss.decoding.language_model import LanguageModel, load_language_model
from sonogloss.errors import OutputError
from sonogloss.indexes import Datastore
from sonogloss.methods import ClapIdentity, save_captioner
from sonogloss.methods.labels import LabelBank, embed_labels, read_labels
from sonogloss.methods.manifest import NAME, read_manifest
from sonogloss.methods.mapper import AnyMapper
from sonogloss.methods.soft_hard.prompt import SoftHardPrompt
from sonogloss.pipelines.audio_validation import score_on_audio
from sonogloss.pipelines.build_datastore import build_datastore
from sonogloss.pipelines.running.inputs import as_list, choose_device
from sonogloss.pipelines.train_options import check_options, columns_by_language, without_defaults
from sonogloss.pipelines.train_parts import (
    draw_what_belongs,
    keep_as_small_as_may_be,
    make_mapper,
    make_source,
    pocket_language_model,
    with_room,
)
from sonogloss.pipelines.train_settings import Plan, make_plan
from sonogloss.training.curve import draw_curve
from sonogloss.training.loop import TrainingRecord, train
from sonogloss.training.parallel import join_process_group

CORPUS, VALIDATION, TRAINING = "corpus", "validation", "training"


def train_captioner(
    *,
    method: str,
    captions: str | Sequence[str],
    output: str,
    clap: str = "pocket",
    language_model: str = "pocket",
    revision: str | None = None,
    datastore: str | None = None,
    labels: str | None = None,
    label_template: str = "{label}",
    validation: str | Sequence[str] = (),
    validation_audio: str | Sequence[str] = (),
    validation_references: str | None = None,
    languages: Sequence[str] = (),
    preset: str | None = None,
    text_column: str = "text",
    max_dead_letters: float = 0.05,
    resume: bool = True,
    overwrite: bool = False,
    device: str = "auto",
    beam_args: Sequence[str] = (),
    **numbers: Any,
) -> dict[str, Any]:
    """Train a captioner from text.

    Args:
        method: `drcap` or `soft-hard`.
        captions: dumps to learn from: files, folders or globs.
        output: the captioner's directory.
        clap: the CLAP whose text embeddings it learns from.
        language_model: a directory or a hub id, any causal one; `pocket` is that of the pocket captioner.
        revision: of a hub id.
        datastore: where DRCap's contexts come from, and what audio validation looks captions up in; by default the
            captions themselves.
        labels: what soft-hard's hard prompts name, a file or `pocket`, which is the default.
        label_template: what is embedded of a label; `{label}` stands for its name.
        validation: dumps of held-out captions, whose loss chooses the weights that are kept.
        validation_audio: recordings whose captions choose them instead, by CIDEr-D.
        validation_references: a table with the references of these.
        languages: `TAG=COLUMN`, for a captioner of several languages: what is to be said is in these columns of the
            dumps. The first is the language of the captions.
        preset: `paper` for the released hyper-parameters; by default our own.
        text_column: the dumps' column with the captions.
        max_dead_letters: share of lines that may be unreadable before the result counts as unsound.
        resume: go on where an interrupted run of the same options was.
        overwrite: replace what the directory holds.
        device: `cpu`, `cuda`, `auto`.
        beam_args: options for Beam, which embeds the captions.
        **numbers: any field of `TrainingConfig`, of the method's settings, of its prompt and of the search, as the
            command line's options are called (`steps`, `band`, `beams`, ...); None leaves the preset's.

    Returns:
        The report: `output`, `method`, `captions`, `steps`, `loss`, `validation_loss`, `score`, `best_step`, `seconds`,
        `samples_per_s`, `fingerprint`, `rank` (of this process), `problems`.

    Raises:
        InputError: an option or an input makes the job impossible, the loss is no longer finite, or a disk is full.
    """
    started = time.time()
    group = join_process_group(device)
    device = group.device or choose_device(device)
    # What makes two trainings the same; where one runs, and whether it was interrupted, does not.
    options = without_defaults(
        {
            "method": method,
            "captions": as_list(captions),
            "clap": clap,
            "language_model": language_model,
            "revision": revision,
            "datastore": datastore,
            "labels": labels,
            "label_template": label_template,
            "validation": as_list(validation),
            "validation_audio": as_list(validation_audio),
            "validation_references": validation_references,
            "languages": languages,
            "preset": preset,
            "text_column": text_column,
            **numbers,
        }
    )
    check_options(method, preset, labels, as_list(validation_audio), validation_references, languages)
    if (done := _done_before(output, options, resume=resume, overwrite=overwrite)) is not None:
        return done
    tags = columns_by_language(languages)

    # The models first: what is wrong with them is told before anything is embedded.
    encoder = load_clap(clap, device=device)
    reference = ClapIdentity(name=clap, fingerprint=encoder.fingerprint, dim=encoder.dim)
    base = str(pocket_language_model()) if language_model == "pocket" else language_model
    decoder = load_language_model(base, device=device, revision=revision)
    store = None if datastore is None else Datastore.open(datastore)
    if store is not None:
        store.require_clap(clap, encoder.fingerprint)
    parameters = sum(parameter.numel() for parameter in decoder.model.parameters())
    make_plan(method, preset, numbers, captions=10**9, clap=reference, parameters=parameters)  # are the numbers usable?

    # The texts.
    problems: list[str] = []
    corpora: dict[str, Datastore] = {}
    for name, dumps in ((CORPUS, as_list(captions)), (VALIDATION, as_list(validation))):
        if not dumps:
            continue
        path = files.join(output, name)
        if group.is_main_process:
            built = build_datastore(
                captions=dumps,
                output=path,
                clap=clap,
                text_column=text_column,
                overwrite=overwrite,
                max_dead_letters=max_dead_letters,
                device=device,
                beam_args=beam_args,
            )
            problems += built["problems"]
        group.barrier()
        corpora[name] = Datastore.open(path)
    corpus = corpora[CORPUS]

    # The settings, and everything that depends on them.
    plan = make_plan(
        method,
        preset,
        numbers,
        captions=corpus.count,
        clap=reference,
        parameters=parameters,
        languages=tuple(tags),
    )
    plan = with_room(plan, decoder)
    keep_as_small_as_may_be(decoder, plan)
    bank = None
    if isinstance(plan.preset.prompt, SoftHardPrompt) and plan.preset.prompt.hard and plan.preset.prompt.labels:
        bank = embed_labels(read_labels(labels or "pocket"), encoder, template=label_template)
    directory = files.join(output, TRAINING)
    if group.is_main_process:
        files.check_writable(directory)
    drawn = draw_what_belongs(plan, corpus, store or corpus, output=directory, group=group, beam_args=beam_args)
    source = make_source(
        plan,
        corpus,
        store or corpus,
        decoder,
        labels=bank,
        languages=tags,
        drawn=drawn,
        validation=corpora.get(VALIDATION),
    )
    torch.manual_seed(plan.preset.training.seed)
    mapper = make_mapper(plan, reference.dim, decoder.width)
    score = None
    if validation_audio and validation_references:
        score, failed = score_on_audio(
            as_list(validation_audio),
            validation_references,
            clap=encoder,
            reference=reference,
            datastore=store or corpus,
            tokenizer=decoder.tokenizer,
            plan=plan,
            labels=bank,
        )
        problems += [f"{failed} recordings of --validation-audio could not be read."] if failed else []
    del encoder

    # The training.
    record = train(
        source,
        language_model=decoder.model,
        mapper=mapper,
        config=plan.preset.training,
        directory=directory,
        score=score,
        resume=resume and not overwrite,
        log=_tell if group.is_main_process else _nothing,
        group=group,
    )
    if group.is_main_process:
        draw_curve(directory, title=f"{method}, {files.base_name(output)}")
        _save(output, plan, record, reference, decoder, mapper, bank, base, options)
    group.barrier()
    return _report(output, options, started, corpus.count, record, problems) | {"rank": group.rank}


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _nothing(line: str) -> None:
    """Only one process speaks."""


def _done_before(output: str, options: Mapping[str, Any], *, resume: bool, overwrite: bool) -> dict[str, Any] | None:
    """The report of a captioner that these options have made; a manifest in the way of another is taken away."""
    path = files.join(output, NAME)
    if not files.exists(path):
        return None
    story = files.read_json(path).get("training", {})
    same = story.get("options") == options
    if same and resume and not overwrite:
        found = {name: story.get(name) for name in _FOUND}
        return {
            "output": output,
            "done_before": True,
            "rank": 0,
            **options,
            **found,
            **_fingerprint(output),
            "problems": [],
        }
    if not (same or overwrite):
        raise OutputError(
            f"--output {output!r} holds a captioner that was made with other options.",
            "Name another directory, or replace it with --overwrite.",
        )
    files.remove(path)
    return None


def _save(
    output: str,
    plan: Plan,
    record: TrainingRecord,
    reference: ClapIdentity,
    decoder: LanguageModel,
    mapper: AnyMapper | None,
    bank: LabelBank | None,
    base: str,
    options: Mapping[str, Any],
) -> None:
    story = record.as_json() | {"settings": asdict(plan.preset.settings), "options": dict(options)}
    save_captioner(
        output,
        clap=reference,
        language_model=record.language_model,
        tokenizer=decoder.tokenizer,
        mapper=mapper,
        prompt=plan.preset.prompt,
        projection=plan.projection,
        contexts=plan.contexts,
        decode=plan.decode,
        labels=bank,
        training=story,
        base=None if plan.preset.training.tune == "all" else base,
    )


_FOUND = ("steps", "loss", "validation_loss", "score", "best_step", "left_out")


def _fingerprint(output: str) -> dict[str, str]:
    return {"fingerprint": read_manifest(output).fingerprint}


def _report(
    output: str,
    options: Mapping[str, Any],
    started: float,
    count: int,
    record: TrainingRecord,
    problems: Sequence[str],
) -> dict[str, Any]:
    found = {name: getattr(record, name) for name in _FOUND}
    return {
        "output": output,
        "done_before": False,
        **options,
        "learnt_from": count,
        **found,
        "seconds": round(time.time() - started, 1),
        "samples_per_s": round(record.samples / max(record.seconds, 1e-9), 1),
        **_fingerprint(output),
        "problems": list(problems),
    }


def show(report: dict[str, Any]) -> None:
    """Print the report for a person; of several processes one does."""
    if report["rank"]:
        return
    console = Console()
    if report["done_before"]:
        console.print(f"{report['output']} was trained with these options before: nothing to do.", markup=False)
    seen = [f"loss {report['loss']:.4f} nats a token"]
    if report["validation_loss"] is not None:
        seen.append(f"validation {report['validation_loss']:.4f}")
    if report["score"] is not None:
        seen.append(f"CIDEr-D {report['score']:.4f}")
    if report["best_step"] is not None:
        seen.append(f"best after step {report['best_step']:,}")
    console.print(f"{report['output']}: {report['method']}, {report['steps']:,} steps, {', '.join(seen)}", markup=False)
    console.print(f"fingerprint {report['fingerprint']}", markup=False, highlight=False)
