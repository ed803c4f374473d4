"""The loaded parts of a training, and the captioner that they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sonogloss.clap import Clap, load_clap
from sonogloss.decoding.language_model import LanguageModel, load_language_model
from sonogloss.indexes import Datastore
from sonogloss.methods import Captioner, ClapIdentity
from sonogloss.methods.labels import LabelBank
from sonogloss.methods.mapper import AnyMapper, make_mapper
from sonogloss.methods.plan import TrainingPlan
from sonogloss.pipelines.config.training import TrainCaptionerOptions
from sonogloss.pipelines.running.audio_validation import Score, score_on_audio
from sonogloss.pipelines.running.training_data import cast_weights, pocket_language_model
from sonogloss.pipelines.running.training_plan import make_plan, training_of


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingModels:
    """The models of a training; `base` is the directory or the hub id of the language model."""

    clap: Clap
    identity: ClapIdentity
    language_model: LanguageModel
    base: str


def load_models(config: TrainCaptionerOptions, device: str) -> TrainingModels:
    """The CLAP and the language model that the options name."""
    clap = load_clap(str(config.clap), device=device)
    base = pocket_language_model() if config.language_model == "pocket" else str(config.language_model)
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


def score_of(job: TrainingJob, recordings: Mapping[str, list[str]], datastore: Datastore) -> tuple[Score | None, int]:
    """The score that chooses the weights, where there are recordings, and how many of them could not be read."""
    if not recordings:
        return None, 0
    return score_on_audio(
        recordings, clap=job.models.clap, datastore=datastore, plan=job.plan, make_captioner=job.make_captioner
    )
