"""A training from its options: the plan, the models and texts it takes, and the captioner that they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib.resources import files as package_files
from typing import Any

import apache_beam as beam
import numpy as np
import torch
from apache_beam.options.pipeline_options import PipelineOptions
from torch import nn

from sonogloss import files
from sonogloss.clap import Clap, load_clap
from sonogloss.decoding.chat import choose_chat
from sonogloss.decoding.language_model import LanguageModel, language_model_directory, load_language_model
from sonogloss.errors import OptionError
from sonogloss.indexes import Datastore
from sonogloss.methods import Captioner, ClapIdentity, ProjectionSettings
from sonogloss.methods.labels import LabelBank
from sonogloss.methods.mapper import AnyMapper, make_mapper
from sonogloss.methods.plan import MethodTraining, TrainingPlan
from sonogloss.methods.registry import Method, fit_positions, get_method
from sonogloss.pipelines.config.method_options import with_given
from sonogloss.pipelines.config.training import TrainCaptionerOptions
from sonogloss.pipelines.running.audio_validation import Score, score_on_audio
from sonogloss.pipelines.running.run_beam import make_pipeline, progress_file, run_pipeline
from sonogloss.records import IntArray
from sonogloss.training.config import TrainingConfig
from sonogloss.training.parallel import ProcessGroup
from sonogloss.training.precision import choose_precision
from sonogloss.transforms.batch_step import Step
from sonogloss.transforms.draw_contexts import draw_folder, plan_parts, read_parts, write_drawn
from sonogloss.transforms.models import DatastoreReference


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingModels:
    """The models of a training; `base` is the directory of the language model, or its name on the hub."""

    clap: Clap
    identity: ClapIdentity
    language_model: LanguageModel
    base: str


def load_models(config: TrainCaptionerOptions, device: str) -> TrainingModels:
    """The CLAP and the language model that the options name."""
    clap = load_clap(str(config.clap), device=device)
    named = str(config.language_model)
    base = pocket_language_model() if named == "pocket" else language_model_directory(named)
    return TrainingModels(
        clap=clap,
        identity=ClapIdentity(name=str(config.clap), fingerprint=clap.fingerprint, dim=clap.dim),
        language_model=load_language_model(base, device=device, revision=config.revision),
        base=base,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingJob:
    """The parts of the captioner that is trained."""

    method: type[Captioner]
    models: TrainingModels
    plan: TrainingPlan
    labels: LabelBank | None
    mapper: AnyMapper | None

    def make_captioner(self, model: Any, mapper: nn.Module | None) -> Captioner:
        """A captioner with the current weights."""
        plain = model.get_base_model() if hasattr(model, "get_base_model") else model
        return self.method(
            language_model=LanguageModel(model=plain, tokenizer=self.models.language_model.tokenizer),
            mapper=mapper,  # type: ignore[arg-type]  # the loop knows mappers as modules
            labels=self.labels,
            prompt=self.plan.prompt,
            clap=self.models.identity,
            contexts=self.plan.settings.contexts,
            projection=self.plan.projection,
            decode=self.plan.decode,
            fingerprint="",
        )


def make_job(
    config: TrainCaptionerOptions, models: TrainingModels, captions: int, labels: Sequence[str]
) -> TrainingJob:
    """The plan and what depends on it; parts that do not fit together are found by making a captioner of them."""
    method, _ = training_of(config)
    language_model = models.language_model
    plan = make_plan(
        config,
        captions=captions,
        clap=models.identity,
        parameters=sum(parameter.numel() for parameter in language_model.model.parameters()),
        positions=language_model.max_positions,
    )
    plan = replace(plan, prompt=with_chat(plan.prompt, config, language_model))
    cast_weights(language_model, plan)
    bank = None
    if plan.prompt.label_count and method.embed_labels is not None:
        bank = method.embed_labels(labels, models.clap, template=config.label_template)
    torch.manual_seed(plan.training.seed)
    mapper = make_mapper(
        plan.mapper, dim=models.identity.dim, width=language_model.width, slots=plan.prompt.audio_slots
    )
    job = TrainingJob(method=method.captioner_class(), models=models, plan=plan, labels=bank, mapper=mapper)
    job.make_captioner(language_model.model, mapper)
    return job


def with_chat(prompt: Any, config: TrainCaptionerOptions, language_model: LanguageModel) -> Any:
    """The prompt as a message where the options want it so and its method can.

    Raises:
        OptionError: they want it, and the method or the tokenizer cannot.
    """
    if not hasattr(prompt, "chat"):
        if config.chat == "on":
            raise OptionError(f"--chat on: the method {config.method!r} writes no messages.", "Leave it out.")
        return prompt
    choice = config.chat or ("off" if config.preset == "paper" else "auto")
    return replace(prompt, chat=choose_chat(language_model.tokenizer, choice))


def score_of(job: TrainingJob, recordings: Mapping[str, list[str]], datastore: Datastore) -> tuple[Score | None, int]:
    """The score that chooses the weights, where there are recordings, and how many of them could not be read."""
    if not recordings:
        return None, 0
    return score_on_audio(
        recordings, clap=job.models.clap, datastore=datastore, plan=job.plan, make_captioner=job.make_captioner
    )


_MAPPER = {"mapper": "kind", "mapper_hidden": "hidden", "mapper_layers": "layers", "mapper_heads": "heads"}
_DECODE = {"beams": "num_beams", "max_new_tokens": "max_new_tokens", "no_repeat_ngram": "no_repeat_ngram"}
_RELEASED_PROJECTION = ProjectionSettings(
    temperature="clap", renormalise=False
)  # the one released system that projects


def training_of(config: TrainCaptionerOptions) -> tuple[Method, MethodTraining]:
    """The method, and how it is trained."""
    method = get_method(config.method)
    assert method.training is not None  # the configuration has only such methods
    return method, method.training


def make_plan(
    config: TrainCaptionerOptions, *, captions: int, clap: ClapIdentity, parameters: int, positions: int | None = None
) -> TrainingPlan:
    """Settings from a preset and what was asked for.

    A number of steps without one of warm-up steps shortens or stretches the preset's warm-up in proportion.

    Args:
        config: the options.
        captions: how many there are to learn from.
        clap: the CLAP.
        parameters: of the language model.
        positions: the longest sequence that the language model takes; captions take at most half of it.

    Raises:
        OptionError: a number cannot be used.
    """
    _, training = training_of(config)
    start = training.presets[config.preset or "own"](captions=captions, clap=clap, parameters=parameters)
    given = config.given()
    prompt = replace(start.prompt, **with_given(start.prompt, given))
    if config.languages:
        tags = tuple(config.language_columns)
        prompt = replace(prompt, languages=tags, language_tag=tags[0])
    return TrainingPlan(
        training=_training(start.training, given),
        settings=replace(start.settings, **with_given(start.settings, given)),
        prompt=prompt,
        mapper=replace(start.mapper, **_renamed(given, _MAPPER)),
        projection=_projection(config, start.projection),
        decode=fit_positions(replace(start.decode, **_renamed(given, _DECODE)), positions),
    )


def check_plan(config: TrainCaptionerOptions) -> None:
    """Are the numbers usable? Tried for models as they may be, before any is loaded.

    Raises:
        OptionError: one is not.
    """
    make_plan(config, captions=10**9, clap=ClapIdentity(name="", fingerprint="", dim=512), parameters=10**9)


def _training(start: TrainingConfig, given: Mapping[str, Any]) -> TrainingConfig:
    steps = given.get("steps", start.steps)
    warmup = {"warmup_steps": start.warmup_steps * steps // start.steps}
    own = {field.name: given[field.name] for field in fields(start) if field.name in given}
    return replace(start, **{**warmup, **own})


def _projection(config: TrainCaptionerOptions, start: ProjectionSettings | None) -> ProjectionSettings | None:
    """The preset's projection; a method that does not project does when it is asked to."""
    asked = start is not None or config.temperature is not None
    if not (asked if config.projection is None else config.projection):
        return None
    settings = start or (_RELEASED_PROJECTION if config.preset == "paper" else ProjectionSettings())
    if config.temperature is not None:
        settings = replace(settings, temperature=config.temperature)
    if config.renormalise is not None:
        settings = replace(settings, renormalise=config.renormalise)
    return settings


def _renamed(given: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {field: given[option] for option, field in names.items() if option in given}


def pocket_language_model() -> str:
    """The directory of the pocket captioner's language model."""
    return str(package_files("sonogloss").joinpath("pocket", "weights", "drcap", "language_model"))


def cast_weights(language_model: LanguageModel, plan: TrainingPlan) -> None:
    """Weights that learn are float32; those that do not are as small as what is computed with them."""
    training, model = plan.training, language_model.model
    precision = choose_precision(training.precision, model.device.type)
    if training.tune == "all" or precision == "float32" or model.device.type == "cpu":
        model.float()
    else:
        model.to(getattr(torch, precision))


def mine_neighbours(
    plan: TrainingPlan,
    corpus: Datastore,
    datastore: Datastore,
    *,
    output: str,
    group: ProcessGroup,
    options: PipelineOptions,
) -> IntArray | None:
    """The captions that belong with each, by row [count, k]: some of the datastore, or neighbours in the corpus.

    They are looked up on as many workers as Beam is given, and kept below `output`: a second run finds them there.
    """
    wanted = plan.settings.mining(plan.training.seed)
    if wanted is None:
        return None
    references = DatastoreReference.of(corpus.path), DatastoreReference.of((datastore if wanted.band else corpus).path)
    parts = plan_parts(corpus.count, files.join(output, draw_folder(*references, wanted)))
    if group.is_main_process:
        with progress_file(options):
            pipeline = make_pipeline(options)
            draw = Step(write_drawn, corpus=references[0], datastore=references[1], draw=wanted)
            _ = pipeline | "ListParts" >> beam.Create(parts) | "Spread" >> beam.Reshuffle() | "DrawContexts" >> draw
            run_pipeline(pipeline, noun="captions", quiet=True)
    group.barrier()
    return read_parts(parts)


def read_column(corpus: Datastore, column: str) -> list[str]:
    """The text of every caption in one language.

    Raises:
        OptionError: some have none.
    """
    texts: list[Any] = corpus.texts(np.arange(corpus.count), column)
    missing = sum(not isinstance(text, str) or not text.strip() for text in texts)
    if missing:
        raise OptionError(
            f"{missing} of {len(texts)} captions have no text in the column {column!r} of --languages.",
            "Leave captions without a translation out.",
        )
    return texts
