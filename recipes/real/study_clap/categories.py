"""The sound-effects categories that the CNN's own classifiers tell apart."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True, kw_only=True)
class Category:
    """One category: its name, the classifiers that have it (0, 1, 2), and what sounds so."""

    name: str
    classifiers: tuple[int, ...]
    sounds: tuple[str, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        """What the text tower reads, one by one: a list in one line embeds as no sound of it."""
        return (self.name, *self.sounds)


def _read() -> tuple[Category, ...]:
    table = (files(__package__) / "categories.txt").read_text(encoding="utf-8")
    rows = [line.split("; ") for line in table.splitlines() if not line.startswith("#")]
    return tuple(
        Category(
            name=name,
            classifiers=tuple(n for n, mark in enumerate(marks) if mark == "+"),
            sounds=tuple(sounds.split(", ")),
        )
        for name, *marks, sounds in rows
    )


CATEGORIES = _read()
