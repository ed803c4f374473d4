"""From options to settings: a preset, and on top of it every number that was given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from sonogloss.errors import OptionError
from sonogloss.methods import ClapIdentity, DecodeSettings, ProjectionSettings, presets
from sonogloss.methods.released import DECODE
from sonogloss.methods.soft_hard.prompt import SoftHardPrompt
from sonogloss.training.config import DrcapSettings, SoftHardSettings, TrainingConfig

# Options of the prompts and the mapper that are not called like their fields, as other options have those names.
PROMPT_OPTIONS = {
    "drcap": {
        "template": "template",
        "instruction": "prompt",
        "answer": "answer",
        "layout": "layout",
        "audio_slots": "audio_slots",
    },
    "soft-hard": {
        "template": "template",
        "label_count": "labels",
        "nothing": "nothing",
        "soft_slots": "soft_slots",
        "hard": "hard",
        "soft": "soft",
        "max_answer_tokens": "max_answer_tokens",
        "bos": "bos",
    },
}
MAPPER_OPTIONS = {"mapper": "kind", "mapper_hidden": "hidden", "mapper_layers": "layers", "mapper_heads": "heads"}
SEARCH_OPTIONS = {"beams": "num_beams", "max_new_tokens": "max_new_tokens"}
PROJECTION_OPTIONS = ("projection", "projection_temperature", "renormalise")
_SETTINGS = {"drcap": DrcapSettings, "soft-hard": SoftHardSettings}
_LONGEST_CAPTION = 60


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All settings of a training and of the captioner it makes."""

    preset: presets.Preset
    projection: ProjectionSettings | None
    decode: DecodeSettings

    @property
    def contexts(self) -> int:
        """Retrieved captions that the captioner reads."""
        settings = self.preset.settings
        return settings.contexts if isinstance(settings, DrcapSettings) else 0


def number_names(method: str) -> set[str]:
    """Every number that can be given for a method, as the command line's options are called."""
    training = {field.name for field in fields(TrainingConfig)} | {field.name for field in fields(_SETTINGS[method])}
    return training | {*PROMPT_OPTIONS[method], *MAPPER_OPTIONS, *SEARCH_OPTIONS, *PROJECTION_OPTIONS}


def make_plan(
    method: str,
    preset: str | None,
    numbers: Mapping[str, Any],
    *,
    captions: int,
    clap: ClapIdentity,
    parameters: int,
    languages: tuple[str, ...] = (),
) -> Plan:
    """Settings from a preset and what was asked for.

    A number of steps without one of warm-up steps shortens or stretches the preset's warm-up in proportion.

    Args:
        method: `drcap` or `soft-hard`.
        preset: `paper`, or None for our own defaults.
        numbers: by the options' names; None stands for the preset's value.
        captions: how many there are to learn from.
        clap: the CLAP.
        parameters: of the language model.
        languages: tags of the languages, the first one that of the captions.

    Raises:
        OptionError: a number belongs to the other method or cannot be used.
    """
    given = {n: tuple(v) if isinstance(v, list) else v for n, v in numbers.items() if v is not None}
    for name in given.keys() - number_names(method):
        raise OptionError(f"--{name.replace('_', '-')} is no option of --method {method}.", "Leave it out.")
    if preset == "paper":
        start = presets.paper(method, captions)
    else:
        start = presets.own(method, captions, dim=clap.dim, parameters=parameters)
        if isinstance(start.settings, DrcapSettings) and clap.name == "pocket":
            start = replace(start, settings=replace(start.settings, band=presets.POCKET_BAND))
    made = presets.Preset(
        training=_training(start.training, given),
        settings=_changed(start.settings, given, {name: name for name in _names(start.settings)}),
        prompt=_changed(start.prompt, given, PROMPT_OPTIONS[method]),
        mapper=_changed(start.mapper, given, MAPPER_OPTIONS),
    )
    if languages and isinstance(made.prompt, SoftHardPrompt):
        made = replace(made, prompt=replace(made.prompt, languages=languages, language_tag=languages[0]))
    released = DECODE[method]
    assert isinstance(released, DecodeSettings)
    search = released
    if preset != "paper":
        search = replace(released, max_new_tokens=min(_LONGEST_CAPTION, released.max_new_tokens), batch_size=32)
    return Plan(
        preset=made, projection=_projection(method, preset, given), decode=_changed(search, given, SEARCH_OPTIONS)
    )


def _training(start: TrainingConfig, given: Mapping[str, Any]) -> TrainingConfig:
    steps = given.get("steps", start.steps)
    scaled = {"warmup_steps": start.warmup_steps * steps // start.steps}
    own = {name: given[name] for name in _names(start) if name in given}
    return replace(start, **{**scaled, **own})


def _projection(method: str, preset: str | None, given: Mapping[str, Any]) -> ProjectionSettings | None:
    """DRCap projects, soft and hard prompts do when they are asked to."""
    wanted = given.get("projection", method == "drcap" or "projection_temperature" in given)
    if not wanted:
        return None
    paper = preset == "paper"
    return ProjectionSettings(
        temperature=given.get("projection_temperature", "clap" if paper else 0.01),
        renormalise=given.get("renormalise", not paper),
    )


def _names(settings: Any) -> list[str]:
    return [field.name for field in fields(settings)]


def _changed(settings: Any, given: Mapping[str, Any], options: Mapping[str, str]) -> Any:
    return replace(settings, **{field: given[option] for option, field in options.items() if option in given})


def leave_room(decode: DecodeSettings, positions: int | None) -> DecodeSettings:
    """A search whose captions leave a language model room for prompts: at most half of its positions.

    The released 200 tokens are never used up by a caption, and a small language model would have no room left.
    """
    if positions is None:
        return decode
    return replace(decode, max_new_tokens=min(decode.max_new_tokens, max(1, positions // 2)))
