"""From options to a training plan: a preset, and on top of it every number that was given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from sonogloss.methods import ClapIdentity, ProjectionSettings
from sonogloss.methods.plan import MethodTraining, TrainingPlan
from sonogloss.methods.registry import Method, fit_positions, get_method
from sonogloss.pipelines.config.method_options import with_given
from sonogloss.pipelines.config.training import TrainCaptionerOptions
from sonogloss.training.config import TrainingConfig

_MAPPER = {"mapper": "kind", "mapper_hidden": "hidden", "mapper_layers": "layers", "mapper_heads": "heads"}
_DECODE = {"beams": "num_beams", "max_new_tokens": "max_new_tokens"}
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
