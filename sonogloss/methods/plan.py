"""What a method brings to be trained from text, and what a training is made of. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from sonogloss.decoding.settings import DecodeSettings
from sonogloss.errors import OptionError
from sonogloss.methods.base import ClapIdentity, ProjectionSettings
from sonogloss.records import IntArray
from sonogloss.training.config import TrainingConfig
from sonogloss.training.corpus import EmbeddedCaptions

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from sonogloss.methods.labels import LabelBank

_SMALL = 50_000_000  # parameters; a language model of so many is trained as a whole, a larger one through an adapter
_LONGEST_CAPTION = 60  # tokens
_ROW = 3  # tokens


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """What is looked up for every caption before training.

    Args:
        count: how many captions; without a band the nearest ones of the corpus, itself included.
        band: cosines (low, high); the captions are then sampled from that band of the datastore.
        seed: of the sample.
    """

    count: int
    band: tuple[float, float] | None = None
    seed: int = 0


class MethodSettings(Protocol):
    """The numbers of one method's training: a frozen dataclass.

    A field with `metadata={"help": ...}` becomes an option of `train-captioner`; `"metavar"` names its value there, and
    `"option"` gives the option another name than the field's. The method's prompt gets options in the same way.
    """

    @property
    def contexts(self) -> int:
        """How many retrieved captions an example shows, and the captioner reads."""

    def mining(self, seed: int) -> Neighbours | None:
        """What is looked up for every caption; None for nothing."""


@dataclass(frozen=True, kw_only=True)
class MapperSettings:
    """The mapper: its kind and sizes, of which each kind uses its own.

    Args:
        kind: `relu` (two layers, DRCap), `mlp` (ClipCap's perceptron) or `transformer`.
        hidden: width of the hidden layer of `relu`.
        layers: of `transformer`.
        heads: attention heads of `transformer`.
    """

    kind: Literal["relu", "mlp", "transformer"]
    hidden: int = 2048
    layers: int = 8
    heads: int = 8


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """All settings of a training and of the captioner that it makes."""

    training: TrainingConfig
    settings: Any  # MethodSettings; but `replace` and `asdict` take dataclasses only
    prompt: Any  # the method's prompt
    mapper: MapperSettings
    projection: ProjectionSettings | None
    decode: DecodeSettings


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingData:
    """The texts of a training, with their embeddings.

    Args:
        captions: to learn from.
        datastore: where retrieved captions come from.
        tokenizer: the language model's.
        max_tokens: the longest sequence that the language model takes; None where it has no such limit.
        validation: held-out captions.
        labels: what prompts name; None where they name nothing.
        neighbours: rows [count, k] that :class:`Neighbours` gave for each caption, filled up with -1; None for none.
        targets: for a multilingual captioner, by language tag, the text of each caption in that language.
    """

    captions: EmbeddedCaptions
    datastore: EmbeddedCaptions
    tokenizer: PreTrainedTokenizerBase
    max_tokens: int | None
    validation: EmbeddedCaptions | None = None
    labels: LabelBank | None = None
    neighbours: IntArray | None = None
    targets: Mapping[str, Sequence[str]] | None = None


class Preset(Protocol):
    """Makes a whole plan; every number of it can then be changed one by one."""

    def __call__(self, *, captions: int, clap: ClapIdentity, parameters: int) -> TrainingPlan:
        """The plan for so many captions, this CLAP and a language model of so many parameters."""


@dataclass(frozen=True, kw_only=True)
class MethodTraining:
    """How a method is trained.

    Args:
        settings: its class of :class:`MethodSettings`.
        examples: import string of a function from a :class:`TrainingPlan` and :class:`TrainingData` to the
            :class:`~sonogloss.training.batches.Source` that the training loop reads; it may import torch.
        presets: by name; `own` is the default, `paper` has the released hyper-parameters.
    """

    settings: type[Any]
    examples: str
    presets: Mapping[str, Preset]

    def __post_init__(self) -> None:
        if "own" not in self.presets:
            raise OptionError(f"The presets of {self.settings.__name__} lack 'own'.", "Add it; it is the default.")


def own_training(captions: int, parameters: int) -> TrainingConfig:
    """Our defaults of any method: about three epochs, and at least 300 steps.

    Args:
        captions: how many there are to learn from.
        parameters: of the language model.
    """
    steps = min(20_000, max(300, 3 * captions // 64))
    small = is_small(parameters)
    return TrainingConfig(
        steps=steps,
        batch_size=64,
        learning_rate=1e-3 if small else 3e-4,
        warmup_steps=steps // 20,
        schedule="cosine",
        weight_decay=0.01,
        betas=(0.9, 0.98),
        grad_clip=1.0,
        tune="all" if small else "lora",
        eval_every=max(1, steps // 10),
        checkpoint_every=max(1, steps // 10),
    )


def own_decode(released: DecodeSettings, parameters: int) -> DecodeSettings:
    """A method's released search in larger batches, for captions of a usual length.

    No three tokens in a row occur twice in a caption of a language model that is too large to be trained as a whole:
    such a model knows loops from elsewhere.
    """
    return replace(
        released,
        max_new_tokens=min(_LONGEST_CAPTION, released.max_new_tokens),
        batch_size=32,
        no_repeat_ngram=0 if is_small(parameters) else _ROW,
    )


def is_small(parameters: int) -> bool:
    """Is a language model of so many parameters trained as a whole?"""
    return parameters <= _SMALL
