"""One place for an option: a field of a frozen dataclass.

From the fields of a command's configuration come its command line and its Python signature (both in :mod:`.parser`),
the `configuration` in `run.json` and its part of the digest that resuming compares. Three libraries were tried before
this was written: tyro and simple-parsing keep only the last of several `--audio A --audio B`, and jsonargparse does
not let unknown options pass on to Beam.
"""

from __future__ import annotations

import dataclasses
import os
import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass
from functools import cache
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from sonogloss.errors import OptionError, unknown
from sonogloss.pipelines.running.terminal import note

AnyPath: TypeAlias = str | os.PathLike[str]
"""A local path or any fsspec URL; kept as a string."""
Paths: TypeAlias = AnyPath | Sequence[AnyPath]
"""One or several; kept as a tuple of strings."""

Digest = Literal["value", "resolved"]
_KEY = "sonogloss-option"
_PATH = os.PathLike[str]


@dataclass(frozen=True, kw_only=True)
class Option:
    """What a field says about its option, beside its type and default.

    Attributes:
        help: what it does and in which unit. The default is added.
        metavar: the value's name in `--help`.
        group: the heading in `--help`; None is "options".
        default_text: the default in words, where None stands for something that is found out later.
        choices: the values allowed, or a function that lists them (a registry's names).
        at_least: the smallest number allowed.
        at_most: the largest number allowed.
        count: how many values a tuple has.
        positional: an argument without a dash.
        leading: arguments right behind the command are values of this option, too.
        flag: the option's name, by default `--` and the field's name with dashes.
        aliases: earlier spellings of the option. They work, with a note on standard error.
        old_values: earlier spellings of its values, with those of today.
        parse: from the command line's text to the whole value, a tuple where several are taken; raises
            :class:`~sonogloss.errors.OptionError`.
        check: refuses a value by raising an OptionError.
        recorded: does it belong into the record of a run? Not where it only says how or where the job runs.
        digest: how the option shapes a row. `value`: as it stands, unless it is the default. `resolved`: through what
            the job makes of it, which the job puts into the digest itself. None: it does not.
    """

    help: str
    metavar: str | None = None
    group: str | None = None
    default_text: str | None = None
    choices: Callable[[], Sequence[str]] | Sequence[str] | None = None
    at_least: float | None = None
    at_most: float | None = None
    count: int | None = None
    positional: bool = False
    leading: bool = False
    flag: str | None = None
    aliases: Sequence[str] = ()
    old_values: Mapping[str, str] = dataclasses.field(default_factory=dict)
    parse: Callable[[str], Any] | None = None
    check: Callable[[Any], None] | None = None
    recorded: bool = True
    digest: Digest | None = None


def option(default: Any = MISSING, **described: Any) -> Any:
    """A field of a configuration that is an option too.

    Args:
        default: the value when it is left out; without one the option is required.
        **described: attributes of :class:`Option`.
    """
    return dataclasses.field(default=default, metadata={_KEY: Option(**described)})


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A field with its option and its type: `kind` is the type of one value, `several` says that it is a tuple.

    `is_path` says that a text names a place, which may hold bytes that are not UTF-8.
    """

    name: str
    option: Option
    kind: Any
    several: bool
    default: Any
    is_path: bool

    @property
    def flag(self) -> str:
        """The option as a user types it."""
        return self.option.flag or f"--{self.name.replace('_', '-')}"

    @property
    def switch(self) -> bool:
        """Does it have a `--no-` form?"""
        return self.kind is bool and self.default is not False

    @property
    def required(self) -> bool:
        """Is there no default?"""
        return self.default is MISSING

    @property
    def names(self) -> tuple[str, ...] | None:
        """The values allowed, where there is a list of them."""
        if get_origin(self.kind) is Literal:
            return get_args(self.kind)
        choices = self.option.choices
        return tuple(choices() if callable(choices) else choices) if choices is not None else None


def settings_of(config: Any) -> tuple[Setting, ...]:
    """The options of a configuration's class, in the order of its fields."""
    return _settings_of(config)


@cache
def _settings_of(config: Any) -> tuple[Setting, ...]:
    hints = get_type_hints(config)
    found = []
    for field in dataclasses.fields(config):
        if _KEY in field.metadata:
            hint = hints[field.name]
            kind, several = _kind(hint)
            found.append(
                Setting(
                    name=field.name,
                    option=field.metadata[_KEY],
                    kind=kind,
                    several=several,
                    default=field.default,
                    is_path=_PATH in _members(hint),
                )
            )
    return tuple(found)


def _kind(hint: Any) -> tuple[Any, bool]:
    """The type of one value, and whether the field takes several."""
    parts = [part for part in _members(hint) if part is not type(None)]
    sequences = [part for part in parts if get_origin(part) in (tuple, Sequence)]
    if _PATH in parts:
        return str, bool(sequences)
    if sequences:
        return get_args(sequences[0])[0], True
    return (parts[0] if len(parts) == 1 else Union[tuple(parts)]), False  # noqa: UP007  # a union made of a list


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


class Configuration:
    """Base of the configurations: values are brought into one form and checked when one is made.

    Paths become strings, lists become tuples, and one value becomes a tuple of one where several are taken.

    Raises:
        OptionError: a value is of the wrong kind, out of range or none of the choices.
    """

    def __post_init__(self) -> None:
        for setting in settings_of(type(self)):
            value = getattr(self, setting.name)
            object.__setattr__(self, setting.name, _normal(setting, value))
        self.check()

    def check(self) -> None:
        """Refuse options that contradict one another; a configuration overrides this."""

    def as_json(self) -> dict[str, Any]:
        """The options that belong into the record of a run, by name, as JSON has them."""
        recorded = [setting.name for setting in settings_of(type(self)) if setting.option.recorded]
        values = {name: getattr(self, name) for name in recorded}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def shaping_options(self) -> dict[str, Any]:
        """The options that shape a row, by name, as JSON has them."""
        values = self.as_json()
        return {setting.name: values[setting.name] for setting in settings_of(type(self)) if setting.option.digest}

    def row_options(self) -> dict[str, Any]:
        """The options that shape a row as they stand, and are not the default: their part of the digest.

        An option that a later release adds leaves the digest of earlier results as it is.
        """
        values = self.as_json()
        return {
            setting.name: values[setting.name]
            for setting in settings_of(type(self))
            if setting.option.digest == "value" and getattr(self, setting.name) != setting.default
        }


def _normal(setting: Setting, value: Any) -> Any:
    if value is None and setting.default is None:
        return None
    if not setting.several:
        return _one(setting, value)
    if isinstance(value, str) and setting.option.parse is not None:
        value = setting.option.parse(value)
    values = [value] if isinstance(value, str | os.PathLike) or not isinstance(value, Sequence) else value
    if setting.option.count is not None and len(values) != setting.option.count:
        raise OptionError(f"{setting.flag} takes {setting.option.count} values, got {len(values)}.", "Correct it.")
    return tuple(_one(setting, each) for each in values)


def _one(setting: Setting, value: Any) -> Any:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str) and value in setting.option.old_values:
        old, value = value, setting.option.old_values[value]
        note(f"{setting.flag} {old} is now {setting.flag} {value}")
    if (names := setting.names) is not None and value not in names and _only_names(setting):
        raise unknown(setting.flag, str(value), names)
    _check_type(setting, value)
    if isinstance(value, str) and not setting.is_path and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise OptionError(f"{setting.flag} {value!r} is not UTF-8.", "Correct it or the terminal's encoding.")
    if setting.option.check is not None:
        setting.option.check(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        _check_range(setting, value)
        return float(value) if setting.kind is float else value
    return value


def _only_names(setting: Setting) -> bool:
    return get_origin(setting.kind) is Literal or setting.kind is str


def _check_type(setting: Setting, value: Any) -> None:
    kinds = _members(setting.kind)
    if not any(_fits(value, kind) for kind in kinds):
        words = [repr(name) for kind in kinds for name in get_args(kind)]
        words += [_WORDS[kind] for kind in kinds if kind in _WORDS]
        raise OptionError(f"{setting.flag} must be {' or '.join(words)}, got {value!r}.", "Correct it.")


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)


_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def _check_range(setting: Setting, value: float) -> None:
    low, high = setting.option.at_least, setting.option.at_most
    if (low is not None and value < low) or (high is not None and value > high) or value != value:
        limits = [f"at least {low:g}"] if low is not None else []
        limits += [f"at most {high:g}"] if high is not None else []
        remedy = f"Give a number{' of ' if limits else ''}{' and '.join(limits)}."
        raise OptionError(f"{setting.flag} {value:g} is out of range.", remedy)


CLAP_NAMES = "pocket, pocket:ordered, a directory, hf:owner/name, or laion:, wavcaps: or msclap:CKPT"
OLD_PRECISIONS = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


def check_device(name: str) -> None:
    """Refuse what is no device's name. Whether this machine has the device is asked when a model loads."""
    if not _DEVICE.fullmatch(name):
        hint = "; did you mean 'cuda'?" if name.startswith("gpu") else "."
        raise OptionError(f"There is no --device {name!r}.", f"Choose one of auto, cpu, cuda, cuda:N{hint}")


def device_option(group: str | None = None) -> Any:
    """`--device`."""
    return option(
        "auto",
        group=group,
        help="auto, cpu, cuda or cuda:N, of the machine that runs the models",
        metavar="D",
        check=check_device,
    )


def check_option(what: str = "the datastore", group: str | None = None) -> Any:
    """How much of a datastore is checked before it is used; results do not depend on it."""
    return option(
        "sample",
        flag="--check",
        group=group,
        help=f"how much of {what} is compared with its manifest: a sample of each file, or every byte",
        choices=("sample", "full"),
        recorded=False,
    )


def resume_option(group: str | None = None, what: str = "what an earlier run of the same options left") -> Any:
    """`--resume`, which continues `what`."""
    return option(True, group=group, help=f"continue {what}; --no-resume begins anew", recorded=False)


def break_lease_option(group: str) -> Any:
    """`--break-lease`, of a job that writes into a directory that another one may hold."""
    help_ = "take the directory from another job, which ends when it notices"
    return option(False, group=group, help=help_, recorded=False)


def dead_letters_option(what: str, group: str | None = None) -> Any:
    """`--max-dead-letters`, a share of `what`."""
    return option(0.05, group=group, help=f"share of {what} that may fail", metavar="SHARE", at_least=0, at_most=1)


def numbers(text: str) -> tuple[int, ...]:
    """The whole numbers of `2-8` or `2,4,8`.

    Raises:
        OptionError: the text is neither.
    """
    first, dash, last = text.partition("-")
    parts = [first, last] if dash else text.split(",")
    if not all(part.isdecimal() for part in parts) or (dash and int(first) > int(last)):
        raise OptionError(f"must be numbers like 2-8 or 2,4,8, got {text!r}.", "Correct it.")
    return tuple(range(int(first), int(last) + 1)) if dash else tuple(sorted({int(part) for part in parts}))
