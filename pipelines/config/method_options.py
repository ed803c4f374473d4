"""Options that captioning methods bring: fields of their dataclasses become fields of a configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, fields, make_dataclass
from typing import Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from sonogloss.errors import OptionError
from sonogloss.methods.registry import Method, get_method, method_names
from sonogloss.pipelines.config.fields import Configuration, option

C = TypeVar("C", bound=Configuration)
Parts = Callable[[Method], Sequence[type[Any]]]
"""The dataclasses of a method whose fields are options of a command."""
DefaultOf = Callable[[Method, type[Any], Field[Any]], str]
"""The default of a field of one of them, in words."""


def described_fields(settings: type[Any]) -> dict[str, Field[Any]]:
    """The fields of a dataclass that have a help text, by the names of their options."""
    return {field.metadata.get("option", field.name): field for field in fields(settings) if "help" in field.metadata}


def with_given(settings: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a dataclass that were given as options, for `dataclasses.replace`."""
    return {field.name: given[name] for name, field in described_fields(type(settings)).items() if name in given}


def option_names(method: Method, parts: Parts) -> set[str]:
    """The options that a method brings."""
    return {name for part in parts(method) for name in described_fields(part)}


def methods_where(fits: Callable[[Method], bool]) -> list[str]:
    """The installed methods that fit. A package that cannot be imported is left out until it is named."""
    found = []
    for name in method_names():
        try:
            method = get_method(name)
        except OptionError:
            continue
        if fits(method):
            found.append(name)
    return found


def add_method_options(base: type[C], methods: Sequence[str], parts: Parts, default_of: DefaultOf) -> type[C]:
    """A configuration with the options of these methods besides its own. None stands for a method's default.

    Args:
        base: the command's own options; the methods' must have other names.
        methods: whose options are added; the help of one that several share names what it is to each.
        parts: which of a method's dataclasses.
        default_of: the default of an option.

    Raises:
        OptionError: a method names an option like the command's own, or like another method's of another type.
    """
    owners: dict[str, list[_Owner]] = {}
    for method in map(get_method, methods):
        for part in parts(method):
            hints = get_type_hints(part)
            for option_name, field in described_fields(part).items():
                owner = _Owner(method.name, field.metadata, hints[field.name], default_of(method, part, field))
                owners.setdefault(option_name, []).append(owner)
    taken = {field.name for field in fields(base)}  # type: ignore[arg-type]  # a dataclass
    added = []
    for option_name, found in owners.items():
        if option_name in taken or any(owner.kind != found[0].kind for owner in found):
            raise OptionError(
                f"The method {found[-1].method!r} has a setting {option_name!r}, which is the name of another option.",
                "Rename it, or give it another `option` in its metadata.",
            )
        added.append((option_name, found[0].kind | None, _option(found)))
    return make_dataclass(base.__name__, added, bases=(base,), frozen=True, kw_only=True)


class _Owner(NamedTuple):
    """What an option is to one method."""

    method: str
    metadata: Mapping[str, Any]
    kind: Any
    default: str


def _option(owners: Sequence[_Owner]) -> Any:
    first, several = owners[0], len(owners) > 1
    parts = get_args(first.kind) if get_origin(first.kind) is tuple else ()
    return option(
        None,
        group=" and ".join(owner.method for owner in owners),
        help="; ".join(f"{owner.method}: " * several + owner.metadata["help"] for owner in owners),
        metavar=first.metadata.get("metavar"),
        default_text="; ".join(dict.fromkeys(owner.default for owner in owners)),
        count=len(parts) if parts and ... not in parts else None,
    )


def in_words(value: Any) -> str:
    """A default as help shows it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return " ".join(map(in_words, value))
    return f"{value:g}" if isinstance(value, float) else repr(value) if isinstance(value, str) else str(value)
