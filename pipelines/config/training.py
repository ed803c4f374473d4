"""Configurations of the commands that make captioners: train-captioner and make-captioner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from sonogloss.errors import OptionError, unknown
from sonogloss.methods.base import ClapIdentity
from sonogloss.methods.registry import Method, get_method
from sonogloss.pipelines.config.beam import BeamOptions
from sonogloss.pipelines.config.fields import (
    CLAP_NAMES,
    OLD_PRECISIONS,
    AnyPath,
    Configuration,
    Paths,
    check_option,
    dead_letters_option,
    device_option,
    option,
    resume_option,
    settings_of,
)
from sonogloss.pipelines.config.method_options import Parts, add_method_options, in_words, methods_where, option_names
from sonogloss.pipelines.config.parser import JOB

_VARIES = "set by captions and models"


def trainable_methods() -> list[str]:
    """The methods that are trained from text."""
    return methods_where(lambda method: method.training is not None)


def assembled_methods() -> list[str]:
    """The methods that are put together from models as they come."""
    return methods_where(lambda method: method.training is None)


def preset_names() -> list[str]:
    """The presets of all methods besides `own`, which is the default."""
    presets = [name for method in trainable_methods() for name in _presets(method)]
    return [name for name in dict.fromkeys(presets) if name != "own"]


def _presets(method: str) -> Mapping[str, Any]:
    training = get_method(method).training
    return {} if training is None else training.presets


def training_parts(method: Method) -> Sequence[type[Any]]:
    """What of a method becomes options of train-captioner."""
    return () if method.training is None else (method.training.settings, method.prompt)


def assembly_parts(method: Method) -> Sequence[type[Any]]:
    """What of a method becomes options of make-captioner."""
    return (method.prompt, type(method.decode))


class MethodConfiguration(Configuration):
    """What commands that make a captioner share: the methods' own options are added to theirs."""

    method: str

    def given(self) -> dict[str, Any]:
        """The options that were given, by name; None stands for a default that is found out later."""
        values = {setting.name: getattr(self, setting.name) for setting in settings_of(type(self))}
        return {name: value for name, value in values.items() if value is not None}

    def check_options_of(self, parts: Parts, methods: Sequence[str]) -> None:
        """Refuse options of other methods.

        Raises:
            OptionError: there is one; it names the methods that have it.
        """
        owners = {name: option_names(get_method(name), parts) for name in methods}
        for option_name in self.given().keys() - owners[self.method]:
            having = [name for name in methods if option_name in owners[name]]
            if having:
                raise foreign_option(option_name, self.method, having)


def foreign_option(name: str, method: str, owners: Sequence[str]) -> OptionError:
    """The error of an option that this method does not have."""
    flag = f"--{name.replace('_', '-')}"
    remedy = f"Leave it out; it belongs to {' and '.join(owners)}." if owners else "Leave it out."
    return OptionError(f"{flag} is no option of --method {method}.", remedy)


def _number(help: str, default: str, **more: Any) -> Any:  # noqa: A002  # argparse's own word
    """An option whose default is the preset's; `default` is that of our own presets in words."""
    return option(None, help=help, default_text=default, **more)


_CHAT = "write prompts as messages, by the tokenizer's chat template; auto where it has one"
_text = partial(option, group="texts")
_learning = partial(_number, group="optimization")
_adapter = partial(_number, group="adapter (LoRA)")
_mapper = partial(_number, group="mapper")
_captioner = partial(_number, group="settings of the captioner")


@dataclass(frozen=True, kw_only=True)
class TrainCaptionerOptions(MethodConfiguration, BeamOptions):
    """Options of `train-captioner`; settings and prompt of every method that learns add theirs."""

    method: str = option(help="what is trained; each brings options of its own, below", choices=trainable_methods)
    captions: Paths = option(help="txt, jsonl, csv, tsv or parquet, also .gz or .zst", metavar="GLOB")
    output: AnyPath = option(help="the captioner's directory", metavar="DIR", recorded=False)
    clap: AnyPath = option("pocket", help=CLAP_NAMES, metavar="C")
    language_model: AnyPath = option(
        "pocket", help="a directory, a GGUF file or hf:owner/name; any causal one", metavar="L"
    )
    preset: str | None = option(
        None,
        help="paper: the method's released hyper-parameters",
        default_text="our own, shown here",
        choices=preset_names,
    )
    validation: Paths = option((), help="held-out captions: the weights of the lowest loss are kept", metavar="GLOB")
    datastore: AnyPath | None = option(
        None,
        help="where contexts come from, and what audio validation searches",
        default_text="the captions themselves",
        metavar="DIR",
    )
    store_check: str = check_option()
    labels: AnyPath | None = option(
        None,
        help="what hard prompts name: pocket, one a line, or a csv or json with names",
        default_text="pocket, for prompts that name labels",
        metavar="FILE",
    )
    steps: int | None = _number("optimizer steps", "about three epochs, 300 to 20,000", at_least=1)
    batch_size: int | None = _number("captions a step, over all processes", "64", at_least=1)
    learning_rate: float | None = _number(
        "the highest learning rate", "0.001; for more than 50 million parameters 0.0003"
    )
    tune: Literal["all", "lora", "none"] | None = _number(
        "which weights of the language model are trained", "all up to 50 million, else lora"
    )

    text_column: str = _text("text", help="column with the captions", metavar="NAME")
    chat: Literal["auto", "on", "off"] | None = _text(None, help=_CHAT, default_text="auto; off with --preset paper")
    revision: str | None = _text(
        None, help="revision of the language model's hub id", default_text="its main branch", metavar="R"
    )
    label_template: str = _text("{label}", help="what is embedded of a label; {label} stands for its name")
    languages: Sequence[str] = _text(
        (),
        help="for a multilingual captioner, the column with the captions in each language; the first is their own",
        metavar="TAG=COLUMN",
    )
    validation_audio: Paths = _text(
        (), help="recordings: the weights of the highest CIDEr-D on them are kept", metavar="GLOB"
    )
    validation_references: AnyPath | None = _text(
        None, help="references of these recordings", default_text="none", metavar="FILE"
    )

    accumulation: int | None = _learning("parts that a batch is computed in", "1", at_least=1)
    warmup_steps: int | None = _learning("steps over which the learning rate rises", "a twentieth of the steps")
    schedule: Literal["linear", "cosine"] | None = _learning("how it falls from there to 0", "cosine")
    weight_decay: float | None = _learning("AdamW's, on matrices only", "0.01")
    betas: tuple[float, float] | None = _learning("AdamW's", "0.9 0.98", count=2)
    grad_clip: float | None = _learning("largest norm of the gradient; 0 does not clip", "1")
    precision: Literal["auto", "float32", "bfloat16", "float16"] | None = _learning(
        "of matrix products; auto is what the hardware computes fast, float16 needs a GPU",
        "auto",
        old_values=OLD_PRECISIONS,
    )
    seed: int | None = _learning("of everything random", "1234")
    eval_every: int | None = _learning("steps between two validations", "a tenth of the steps", at_least=1)
    checkpoint_every: int | None = _learning("steps between two checkpoints", "a tenth of the steps", at_least=1)

    lora_rank: int | None = _adapter("rank of the adapter's matrices", "8", at_least=1)
    lora_alpha: int | None = _adapter("the adapter's scale is alpha / rank", "32", at_least=1)
    lora_dropout: float | None = _adapter("dropout on what the adapter reads", "0.05", metavar="SHARE")
    lora_targets: Sequence[str] | None = _adapter(
        "names of the modules that are adapted", "query and value projections", metavar="NAME"
    )

    mapper: Literal["relu", "mlp", "transformer"] | None = _mapper("what maps an embedding to vectors", "the method's")
    mapper_hidden: int | None = _mapper(
        "relu: width of the hidden layer", "512; for more than 50 million parameters 2048", at_least=1
    )
    mapper_layers: int | None = _mapper("transformer: number of layers", "8", at_least=1)
    mapper_heads: int | None = _mapper("transformer: number of attention heads", "8", at_least=1)

    projection: bool | None = _captioner("project audio embeddings on the text support", "as the method does")
    temperature: float | Literal["clap"] | None = _captioner(
        "temperature of the softmax over the support, or clap for the CLAP's own",
        "0.01",
        metavar="T",
        at_least=0,
        aliases=["--projection-temperature"],
    )
    renormalise: bool | None = _captioner("scale projected embeddings to unit length", "on")
    beams: int | None = _captioner("beams of the search", "the released system's", at_least=1)
    max_new_tokens: int | None = _captioner("the longest caption, in tokens", "60 at most", at_least=1)
    no_repeat_ngram: int | None = _captioner(
        "no N tokens in a row occur twice in a caption; 0 for no such rule",
        "3 for more than 50 million parameters, else 0; 0 with --preset paper",
        at_least=0,
        metavar="N",
    )

    resume: bool = resume_option(JOB, "an interrupted run of the same options")
    overwrite: bool = option(False, group=JOB, help="replace what the output holds", recorded=False)
    max_dead_letters: float = dead_letters_option("lines of the captions", JOB)
    device: str = device_option(JOB)

    if TYPE_CHECKING:  # the options of methods are known to the installed package, not to a type checker

        def __init__(self, *, method: str, captions: Paths, output: AnyPath, **options: Any) -> None: ...

    def check(self) -> None:
        """Refuse options that contradict one another, or belong to another method."""
        method = get_method(self.method)
        self.check_options_of(training_parts, trainable_methods())
        if self.preset is not None and self.preset not in _presets(self.method):
            raise unknown("--preset", self.preset, [name for name in _presets(self.method) if name != "own"])
        if self.labels is not None and method.embed_labels is None:
            raise foreign_option("labels", self.method, _trainable_where(lambda other: other.embed_labels is not None))
        if self.languages and not hasattr(method.prompt, "language_tag"):
            owners = _trainable_where(lambda other: hasattr(other.prompt, "language_tag"))
            raise foreign_option("languages", self.method, owners)
        if bool(self.validation_audio) != (self.validation_references is not None):
            raise OptionError(
                "--validation-audio and --validation-references go together.", "Give both, or validate on text."
            )
        _ = self.language_columns

    @property
    def language_columns(self) -> dict[str, str]:
        """The column of each language, by its tag, from entries `TAG=COLUMN`.

        Raises:
            OptionError: an entry is not like this.
        """
        found: dict[str, str] = {}
        for entry in self.languages:
            tag, equals, column = entry.partition("=")
            if not (tag and equals and column) or tag in found:
                raise OptionError(
                    f"--languages {entry!r} is not TAG=COLUMN.", "Write en=text fr=text_fr, each tag once."
                )
            found[tag] = column
        return found


def _trainable_where(fits: Any) -> list[str]:
    return [name for name in trainable_methods() if fits(get_method(name))]


@dataclass(frozen=True, kw_only=True)
class MakeCaptionerOptions(MethodConfiguration):
    """Options of `make-captioner`; prompt and search of every method that needs no training add theirs."""

    method: str = option("zeraucap", help="the method", choices=assembled_methods)
    clap: AnyPath = option("pocket", help=CLAP_NAMES, metavar="C")
    language_model: AnyPath = option(help="a directory, a GGUF file or hf:owner/name; any causal one", metavar="L")
    labels: Paths = option(
        (),
        help="keywords: pocket, one a line, or a csv or json with names, split at commas; several are joined",
        default_text="needed where prompts name keywords",
        metavar="FILE",
    )
    examples: AnyPath | None = option(
        None,
        help="captions to show first, one a line, or none; each is written with the keywords nearest to it",
        default_text="five of the method's own, where they leave half of the context free",
        metavar="FILE",
    )
    chat: Literal["auto", "on", "off"] = option("auto", help=_CHAT)
    output: AnyPath = option(help="the captioner's directory", metavar="DIR")
    overwrite: bool = option(False, group=JOB, help="replace what the output holds")
    device: str = device_option(JOB)

    if TYPE_CHECKING:  # as in TrainCaptionerOptions

        def __init__(self, *, language_model: AnyPath, output: AnyPath, **options: Any) -> None: ...

    def check(self) -> None:
        """Refuse options of another method, and a vocabulary that is missing or not read."""
        self.check_options_of(assembly_parts, assembled_methods())
        if bool(self.labels) != (get_method(self.method).embed_labels is not None):
            need = "names nothing" if self.labels else "needs a vocabulary"
            raise OptionError(f"--labels: the method {self.method!r} {need}.", "Leave them out, or name a file.")


def _own_value(method: Method, part: type[Any], field: Field[Any]) -> str:
    """The value in our own preset, where it is the same for small models and few captions as for large and many."""
    assert method.training is not None
    sizes = ((10_000, 512, 10_000_000), (1_000_000, 1024, 1_000_000_000))
    values = set()
    for captions, dim, parameters in sizes:
        clap = ClapIdentity(name="", fingerprint="", dim=dim)
        plan = method.training.presets["own"](captions=captions, clap=clap, parameters=parameters)
        values.add(getattr(plan.settings if part is method.training.settings else plan.prompt, field.name))
    return in_words(values.pop()) if len(values) == 1 else _VARIES


def _field_default(method: Method, part: type[Any], field: Field[Any]) -> str:
    return field.metadata.get("default") or in_words(field.default)


TrainCaptionerConfig = add_method_options(TrainCaptionerOptions, trainable_methods(), training_parts, _own_value)
MakeCaptionerConfig = add_method_options(MakeCaptionerOptions, assembled_methods(), assembly_parts, _field_default)
