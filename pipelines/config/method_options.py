"""Options that captioning methods bring: fields of their dataclasses become fields of a configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, fields, make_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from sonogloss.errors import OptionError
from sonogloss.methods.registry import Method, get_method, method_names
from sonogloss.pipelines.config.fields import Configuration, option

C = TypeVar("C", bound=Configuration)
Parts = Callable[[Method], Sequence[type[Any]]]
"""The dataclasses of a method whose fields are options of a command."""


def described_fields(settings: type[Any]) -> dict[str, Field[Any]]:
    """The fields of a dataclass that say what they are, by the names of their options."""
    return {field.metadata.get("option", field.name): field for field in fields(settings) if "help" in field.metadata}


def with_given(settings: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a dataclass that were given as options, for `dataclasses.replace`."""
    return {field.name: given[name] for name, field in described_fields(type(settings)).items() if name in given}


def option_names(method: Method, parts: Parts) -> set[str]:
    """The options that a method brings."""
    return {name for part in parts(method) for name in described_fields(part)}


def methods_where(fits: Callable[[Method], bool]) -> list[str]:
    """The installed methods that fit. A package that cannot be imported is left out; naming it says what is wrong."""
    found = []
    for name in method_names():
        try:
            method = get_method(name)
        except OptionError:
            continue
        if fits(method):
            found.append(name)
    return found


def add_method_options(base: type[C], methods: Sequence[str], parts: Parts, default_text: str | None = None) -> type[C]:
    """A configuration with the options of these methods besides its own. None stands for a method's default.

    Args:
        base: the command's own options; the methods' must have other names.
        methods: whose options are added; one that several share says in its help what it means to each.
        parts: which of a method's dataclasses.
        default_text: the defaults in words; by default those of the fields.

    Raises:
        OptionError: a method names an option like the command's own, or like another method's of another type.
    """
    owners: dict[str, list[tuple[str, Field[Any], Any]]] = {}
    for name in methods:
        for part in parts(get_method(name)):
            hints = get_type_hints(part)
            for option_name, field in described_fields(part).items():
                owners.setdefault(option_name, []).append((name, field, hints[field.name]))
    taken = {field.name for field in fields(base)}  # type: ignore[arg-type]  # a dataclass
    added = []
    for option_name, found in owners.items():
        kinds = [kind for _, _, kind in found]
        if option_name in taken or any(kind != kinds[0] for kind in kinds):
            raise OptionError(
                f"The method {found[-1][0]!r} has a setting {option_name!r}, which is the name of another option.",
                "Rename it, or give it another `option` in its metadata.",
            )
        added.append((option_name, kinds[0] | None, _option(found, kinds[0], default_text)))
    return make_dataclass(base.__name__, added, bases=(base,), frozen=True, kw_only=True)


def _option(found: Sequence[tuple[str, Field[Any], Any]], kind: Any, default_text: str | None) -> Any:
    names, first = [name for name, _, _ in found], found[0][1]
    texts = [field.metadata["help"] for _, field, _ in found]
    shared = "; ".join(f"{name}: {text}" for name, text in zip(names, texts, strict=True))
    several = get_args(kind) if get_origin(kind) is tuple else ()
    return option(
        None,
        group=" and ".join(names),
        help=texts[0] if len(found) == 1 else shared,
        metavar=first.metadata.get("metavar"),
        default_text=_text(first.default) if default_text is None else default_text,
        count=len(several) if several and ... not in several else None,
    )


def _text(default: Any) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    return repr(default) if isinstance(default, str) else str(default)
