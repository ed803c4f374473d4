"""The captioning methods by name, and what each of them consists of.

A method is a folder with a :class:`Method` in it, which names its parts; those that need torch are named by import
strings and loaded when they are used. Ours are registered below, one line each. A method of another package registers
in its own `pyproject.toml` and needs no line here::

    [project.entry-points."sonogloss.methods"]
    my-method = "my_package.method:METHOD"
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, cast

from sonogloss.decoding.settings import DecodeSettings
from sonogloss.errors import OptionError, unknown
from sonogloss.methods.base import CaptionerSpec, ProjectionSettings

if TYPE_CHECKING:
    from sonogloss.methods.base import Captioner
    from sonogloss.methods.labels import LabelBank
    from sonogloss.methods.manifest import Manifest
    from sonogloss.methods.plan import MethodTraining

GROUP = "sonogloss.methods"
METHODS = {
    "drcap": "sonogloss.methods.drcap.method:METHOD",
    "soft-hard": "sonogloss.methods.soft_hard.method:METHOD",
    "zeraucap": "sonogloss.methods.zeraucap.method:METHOD",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Method:
    """A captioning method. Importing it must cost little: `--help` and `captioner.json` are read with it.

    Args:
        name: in `captioner.json` and on the command line.
        captioner: import string of its :class:`~sonogloss.methods.base.Captioner`.
        prompt: its class of prompts, see :class:`~sonogloss.methods.base.Prompt`.
        decode: the released search settings, which a new captioner has by default. The class is that of all its
            captioners and has a field `batch_size`; of a :class:`~sonogloss.decoding.settings.DecodeSettings` users may
            choose the number of beams.
        contexts: how many retrieved captions the released system reads.
        projection: how the released system projects embeddings; None for not at all.
        parity: search settings that only `parity` has.
        parity_prompt: fields of its prompts that `parity` sets back to what the released code does.
        suit: import string of the function that suits the prompt and the search of a new captioner to its language
            model, see :func:`sonogloss.methods.zeraucap.suit.suit`; None leaves both as they are.
        fast: search settings that leave a guided search's CLAP out; empty for a search without guidance.
        embed_labels: makes the bank of labels that its prompts name, from names, a CLAP and `template=`; None for
            prompts that name nothing.
        training: how it is trained from text; None for a method that is put together from models as they come.
        card: head of the model card; `{clap}` stands for the CLAP's name.
    """

    name: str
    captioner: str
    prompt: type[Any]
    decode: Any
    contexts: int = 0
    projection: ProjectionSettings | None = None
    parity: Mapping[str, Any] = field(default_factory=dict)
    parity_prompt: Mapping[str, Any] = field(default_factory=dict)
    suit: str | None = None
    fast: Mapping[str, Any] = field(default_factory=dict)
    embed_labels: Callable[..., LabelBank] | None = None
    training: MethodTraining | None = None
    card: str = "# A captioner\n"

    def captioner_class(self) -> type[Captioner]:
        """The class of its captioners; brings torch and transformers: seconds."""
        return load_object(self.captioner)

    def released(self, manifest: Manifest, positions: int | None) -> Manifest:
        """A captioner as the method's released code would run it; words and weights stay its own."""
        decode = replace(self.decode, batch_size=manifest.decode.batch_size, **self.parity)
        return replace(
            manifest,
            prompt=replace(cast(Any, manifest.prompt), **self.parity_prompt),
            contexts=self.contexts,
            projection=self.projection,
            decode=fit_positions(decode, positions),
        )

    def configured(self, manifest: Manifest, spec: CaptionerSpec) -> Manifest:
        """A captioner with the beams, the language, the guidance and the rule of repetition that a spec asks for.

        Raises:
            OptionError: the method has no such beams, language or guidance.
        """
        decode, prompt = manifest.decode, cast(Any, manifest.prompt)
        if spec.beams is not None:
            if not isinstance(decode, DecodeSettings):
                raise OptionError(f"The captioner {spec.name!r} searches without beams.", "Leave --beams out.")
            decode = replace(decode, num_beams=spec.beams)
        if spec.magic:
            if not isinstance(decode, DecodeSettings):
                raise OptionError(f"The captioner {spec.name!r} searches without beams.", "Leave --magic out.")
            decode = replace(decode, **MAGIC, max_new_tokens=min(decode.max_new_tokens, _MAGIC_TOKENS))
        if spec.fast:
            if not self.fast:
                raise OptionError(
                    f"The captioner {spec.name!r} is not guided, so there is nothing to leave out.", "Leave --fast out."
                )
            decode = replace(decode, **self.fast)
        if spec.no_repeat_ngram is not None:
            if not hasattr(decode, "no_repeat_ngram"):
                raise OptionError(
                    f"The captioner {spec.name!r} has no rule against repetition.", "Leave --no-repeat-ngram out."
                )
            decode = replace(decode, no_repeat_ngram=spec.no_repeat_ngram)
        if spec.language is not None:
            if not getattr(prompt, "languages", ()):
                raise OptionError(f"The captioner {spec.name!r} has one language only.", "Leave --language out.")
            prompt = replace(prompt, language_tag=spec.language)
        return replace(manifest, decode=decode, prompt=prompt)


MAGIC: Mapping[str, Any] = {"magic": 25, "magic_alpha": 0.1, "magic_beta": 0.2}
"""The released settings of the magic beam, as `DecodeSettings` names them."""
_MAGIC_TOKENS = 20


def fit_positions(decode: Any, positions: int | None) -> Any:
    """A search whose captions take at most half of a language model's positions, so that a prompt fits too.

    The released 200 tokens are never used up by a caption, and a small language model has no positions to spare.
    """
    if positions is None or not isinstance(decode, DecodeSettings):
        return decode
    return replace(decode, max_new_tokens=min(decode.max_new_tokens, max(1, positions // 2)))


def method_names() -> list[str]:
    """The names of all methods that are installed, ours first; no method is imported for it."""
    return list(dict.fromkeys([*METHODS, *sorted(_entry_points())]))


def get_method(name: str) -> Method:
    """The method of this name.

    Raises:
        OptionError: there is none, or the package that has it cannot be imported.
    """
    if name in METHODS:
        method = load_object(METHODS[name])
    elif (entry := _entry_points().get(name)) is not None:
        try:
            method = entry.load()
        except (ImportError, AttributeError) as problem:
            raise OptionError(
                f"The method {name!r} cannot be loaded from {entry.value!r} ({problem}).",
                "Repair or remove its package.",
            ) from problem
    else:
        raise unknown("method", name, method_names())
    if not isinstance(method, Method) or method.name != name:
        raise OptionError(
            f"The entry point {name!r} in {GROUP!r} does not name a Method called {name!r}.", "Correct its package."
        )
    return method


def method_of(prompt: Any) -> Method:
    """The method whose prompt this is.

    Raises:
        OptionError: no method has such prompts.
    """
    for name in method_names():
        method = get_method(name)
        if type(prompt) is method.prompt:
            return method
    raise OptionError(
        f"No method has prompts of the class {type(prompt).__name__}.", f"Methods are {', '.join(method_names())}."
    )


def load_object(path: str) -> Any:
    """What an import string `module:name` names."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def _entry_points() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}
