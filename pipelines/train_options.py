"""What `train-captioner` was asked for: which options were given, and whether they go together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sonogloss.errors import OptionError
from sonogloss.methods import presets


def without_defaults(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that were given, as JSON has them."""
    given = {name: list(value) if isinstance(value, list | tuple) else value for name, value in options.items()}
    return {name: value for name, value in given.items() if value is not None and value != []}


def check_options(
    method: str,
    preset: str | None,
    labels: str | None,
    audio: Sequence[str],
    references: str | None,
    languages: Sequence[str],
) -> None:
    """Refuse options that contradict one another.

    Raises:
        OptionError: they do.
    """
    if method not in presets.METHODS:
        raise OptionError(f"--method {method!r} cannot be trained.", f"Choose one of {', '.join(presets.METHODS)}.")
    if preset not in (None, "paper"):
        raise OptionError(f"--preset {preset!r} is not known.", "Choose paper, or leave it out.")
    if method == "drcap" and (labels is not None or languages):
        raise OptionError("--labels and --languages belong to --method soft-hard.", "Leave them out.")
    if bool(audio) != (references is not None):
        raise OptionError(
            "--validation-audio and --validation-references go together.", "Give both, or validate on text."
        )


def columns_by_language(languages: Sequence[str]) -> dict[str, str]:
    """The dumps' column of each language, by its tag, from entries `TAG=COLUMN`."""
    found: dict[str, str] = {}
    for entry in languages:
        tag, equals, column = entry.partition("=")
        if not (tag and equals and column) or tag in found:
            raise OptionError(f"--languages {entry!r} is not TAG=COLUMN.", "Write en=text fr=text_fr, each tag once.")
        found[tag] = column
    return found
