"""Fields that joined the settings in `captioner.json` after captioners had been published."""

from __future__ import annotations

from dataclasses import MISSING, asdict, fields
from typing import Any

_MARK = "later"
LATER: dict[str, Any] = {_MARK: True}
"""Metadata of such a field. At its default it is neither written nor part of a fingerprint: captioners of before keep
theirs, and a release of before reads what does not use it."""


def values_that_count(settings: Any) -> dict[str, Any]:
    """The fields of a dataclass of settings, without later ones at their defaults."""
    values = asdict(settings)
    for field in fields(settings):
        if _MARK in field.metadata and field.default is not MISSING and getattr(settings, field.name) == field.default:
            del values[field.name]
    return values
