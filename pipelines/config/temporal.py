"""Configurations of post-train-clap, zste and tune-labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Literal

from sonogloss.errors import OptionError
from sonogloss.pipelines.config.beam import BeamOptions
from sonogloss.pipelines.config.fields import (
    CLAP_NAMES,
    OLD_PRECISIONS,
    AnyPath,
    Configuration,
    Paths,
    dead_letters_option,
    device_option,
    option,
    resume_option,
)
from sonogloss.pipelines.config.parser import JOB
from sonogloss.tagging.config import TuningConfig
from sonogloss.temporal.config import RELATIONS, PairSettings, PostTrainConfig, TnceSettings

_pairing = partial(option, group="how two clips become one")
_layers = partial(option, group="what learns")
_training = partial(option, group="training")
_loss = partial(option, group="sentences and loss")


@dataclass(frozen=True, kw_only=True)
class ClipsConfig(BeamOptions):
    """Options of the commands that compose pairs of labelled clips."""

    clips: Paths = option(
        help="folders with metadata.csv (file_name, label) or one sub-folder a label; pocket renders sounds",
        metavar="DIR",
        old_values={"soundscapes": "pocket"},
    )
    output: AnyPath = option(help="the output directory", metavar="DIR", recorded=False)
    folds: Sequence[str] = option(
        (), help="use only clips of these folds (column fold)", default_text="all", metavar="F"
    )
    held_out_classes: float = option(
        0.0,
        help="share of the classes, chosen by name, that post-train-clap leaves out and zste is limited to; 0 uses all "
        "classes in both",
        metavar="SHARE",
        at_least=0,
        at_most=1,
    )
    crossfade: float = _pairing(
        PairSettings.crossfade_s,
        help="seconds over which the first clip of a sequence gives way to the second",
        metavar="S",
        at_least=0,
    )
    level: float | None = _pairing(
        PairSettings.level_db,
        help="RMS level that clips are brought to, in dB below full scale (-20)",
        default_text="their own",
        metavar="DB",
        at_least=-120,
        at_most=0,
    )
    overlay_level: float = _pairing(
        PairSettings.overlay_db,
        help="level of the second clip of an overlay, in dB relative to the first",
        metavar="DB",
        at_least=-60,
        at_most=60,
    )
    overwrite: bool = option(False, group=JOB, help="replace the result that the output holds", recorded=False)
    max_dead_letters: float = dead_letters_option("clips", JOB)
    device: str = device_option(JOB)

    @property
    def pairs(self) -> PairSettings:
        """How two clips become one."""
        return PairSettings(crossfade_s=self.crossfade, level_db=self.level, overlay_db=self.overlay_level)


@dataclass(frozen=True, kw_only=True)
class ZsteConfig(ClipsConfig):
    """Options of `zste`."""

    clips: AnyPath = option(
        help="a folder with metadata.csv (file_name, label) or one sub-folder a label; pocket renders sounds",
        metavar="DIR",
        old_values={"soundscapes": "pocket"},
    )
    clap: AnyPath = option(help=CLAP_NAMES, metavar="C")
    items: int = option(500, help="clips and pairs, each at most", at_least=1)
    released_rules: bool = option(False, help="add tasks 2 and 5 as the released scripts score them")
    seed: int = option(0, help="seed of the pairs", at_least=0)


@dataclass(frozen=True, kw_only=True)
class PostTrainClapConfig(ClipsConfig):
    """Options of `post-train-clap`."""

    clap: AnyPath = option("pocket", help=f"the CLAP to begin with: {CLAP_NAMES}", metavar="C")
    per_class: int = option(40, help="soundscapes of each class", at_least=1)
    stages: str = option("A,B", help="A: one sound or two? B: in which order?", metavar="LIST")
    steps: int = option(PostTrainConfig.steps, help="optimizer steps of each stage", at_least=1)
    groups: int = option(PostTrainConfig.groups, help="pairs a step", at_least=2)
    learning_rate: float = option(PostTrainConfig.learning_rate, help="the highest learning rate")
    tune: Literal["last", "lora"] = option(
        PostTrainConfig.tune, help="what learns besides the projections: the last layers, or an adapter in all layers"
    )
    precision: Literal["auto", "float32", "bfloat16"] = option(
        PostTrainConfig.precision,
        help="number format of the computation; auto is bfloat16 where the hardware computes it fast, else float32",
        old_values=OLD_PRECISIONS,
    )
    seed: int = option(PostTrainConfig.seed, help="seed of everything random", at_least=0)
    validation_share: float = option(
        PostTrainConfig.validation_share,
        help="share of the recordings that are held out for validation",
        metavar="SHARE",
        at_least=0,
    )
    warmup_steps: int = _training(
        PostTrainConfig.warmup_steps, help="steps over which the learning rate rises", at_least=0
    )
    weight_decay: float = _training(PostTrainConfig.weight_decay, help="weight decay of matrices", at_least=0)
    grad_clip: float = _training(
        PostTrainConfig.grad_clip, help="largest norm of the gradient; 0 does not clip", at_least=0
    )
    gain_db: float = _training(
        PostTrainConfig.gain_db,
        help="largest random change of a clip's level, in dB",
        metavar="DB",
        at_least=0,
        at_most=60,
    )
    anchor: float = _training(
        PostTrainConfig.anchor,
        help="weight of the term that keeps single sounds and labels where they were",
        at_least=0,
    )
    eval_every: int = _training(PostTrainConfig.eval_every, help="steps between two validations", at_least=1)
    checkpoint_every: int = _training(
        PostTrainConfig.checkpoint_every, help="steps between two checkpoints", at_least=1
    )
    layers: int = _layers(PostTrainConfig.layers, help="last: stages of the audio tower, from its end", at_least=1)
    text_layers: int = _layers(
        PostTrainConfig.text_layers, help="last: layers of the text tower, from its end", at_least=1
    )
    position_rate: float = _layers(
        PostTrainConfig.position_rate, help="factor on the learning rate of the audio tower's position biases"
    )
    lora_rank: int = _layers(PostTrainConfig.lora_rank, help="lora: rank of the adapter", at_least=1)
    lora_alpha: int = _layers(
        PostTrainConfig.lora_alpha, help="lora: the adapter is scaled by alpha / rank", at_least=1
    )
    lora_dropout: float = _layers(PostTrainConfig.lora_dropout, help="lora: dropout on the adapter's input", at_least=0)
    relations: Sequence[str] = _loss(RELATIONS, help="words between two classes", choices=RELATIONS, metavar="WORD")
    wording: Literal["published", "varied"] = _loss(
        PairSettings.wording, help="only these words, or others of the same meaning too"
    )
    words: float = _loss(
        PostTrainConfig.words,
        help="stage B: weight of the loss between a sentence and the same in other words",
        at_least=0,
    )
    alpha_same: float = _loss(
        TnceSettings.alpha_same, help="stage B: weight of the same pair in another order, as a negative", at_least=0
    )
    alpha_cross: float = _loss(
        TnceSettings.alpha_cross, help="stage B: weight of other pairs in another order, as negatives", at_least=0
    )
    beta: float = _loss(TnceSettings.beta, help="weight of the rows after the first block", at_least=0)
    weight: float = _loss(TnceSettings.weight, help="weight of the whole loss (lambda)", at_least=0)
    released_loss: bool = _loss(
        False, help="compute the loss as the released code does: no unit length, no temperature"
    )
    resume: bool = resume_option(JOB)

    @property
    def pairs(self) -> PairSettings:
        """How two clips become one, and in which words."""
        relations = tuple(self.relations)
        return replace(super().pairs, relations=relations, wording=self.wording)

    @property
    def training(self) -> PostTrainConfig:
        """The numbers of the training."""
        names = {field.name for field in fields(PostTrainConfig)} - {"stages", "loss", "pairs"}
        numbers: dict[str, Any] = {name: getattr(self, name) for name in names}
        return PostTrainConfig(
            stages=tuple(name.strip().upper() for name in self.stages.split(",") if name.strip()),
            loss=TnceSettings(
                alpha_same=self.alpha_same,
                alpha_cross=self.alpha_cross,
                beta=self.beta,
                weight=self.weight,
                released=self.released_loss,
            ),
            pairs=self.pairs,
            **numbers,
        )

    def check(self) -> None:
        """Refuse numbers that cannot be used."""
        _ = self.training


@dataclass(frozen=True, kw_only=True)
class TuneLabelsConfig(Configuration):
    """Options of `tune-labels`."""

    labels: AnyPath = option(help="one a line, csv or json with names; or pocket", metavar="FILE|NAME")
    output: AnyPath = option(
        help="the prompts' directory; it also receives curve.csv and the checkpoint", metavar="DIR", recorded=False
    )
    texts: Paths = option(
        (),
        help="captions to search for the labels' words: txt, jsonl, csv, tsv or parquet, also .gz or .zst",
        metavar="GLOB",
    )
    name_only: bool = option(False, help="make the texts from the labels' names instead")
    text_column: str = option("text", help="column with the captions", metavar="NAME")
    keywords: AnyPath | None = option(
        None,
        help="json with phrases by label, to search for instead of the label's words",
        default_text="none",
        metavar="FILE",
    )
    texts_per_label: int = option(64, help="texts a label at most", at_least=2)
    clap: AnyPath = option("pocket", help=CLAP_NAMES, metavar="C")
    multi_label: bool = option(False, help="a text may name several labels: ranking loss instead of cross-entropy")
    slots: int = _training(TuningConfig.slots, help="learned vectors in front of a label", at_least=1)
    initial: str = _training(TuningConfig.initial, help="words that the vectors begin with", default_text="none: noise")
    noise_cosine: float = _training(
        TuningConfig.noise_cosine,
        help="mean cosine of a text with its noisy copy; 1 adds no noise, as published",
        metavar="COSINE",
        at_most=1,
    )
    keep: float = _training(
        TuningConfig.keep,
        help="weight of the loss that keeps other words of the dump where they are; 0 as published",
        at_least=0,
    )
    compat: bool = _training(
        TuningConfig.compat, help="compute as the released code does: embed vectors twice, give padding a weight"
    )
    epochs: int = _training(TuningConfig.epochs, help="passes over the texts", at_least=1)
    steps: int | None = _training(None, help="optimizer steps", default_text="as many as the epochs have", at_least=1)
    seed: int = _training(TuningConfig.seed, help="seed of everything random", at_least=0)
    resume: bool = resume_option(JOB)
    overwrite: bool = option(False, group=JOB, help="replace the prompts that the output holds", recorded=False)
    device: str = device_option(JOB)

    @property
    def tuning(self) -> TuningConfig:
        """The numbers of the training."""
        names = [field.name for field in fields(TuningConfig) if hasattr(self, field.name)]
        return TuningConfig(**{name: getattr(self, name) for name in names})

    def check(self) -> None:
        """Refuse options that exclude one another."""
        if self.name_only and self.texts:
            raise OptionError("--texts and --name-only exclude each other.", "Give one of them.")
        if not self.name_only and not self.texts:
            raise OptionError(
                "There is nothing to learn from.", "Give captions to search with --texts, or --name-only."
            )
        _ = self.tuning
