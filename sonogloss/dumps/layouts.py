"""Published layouts of captions: which columns hold them. A new one is a line in :data:`LAYOUTS`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

TEXT = "text"
"""The column that holds captions where nothing else is said."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A published layout.

    Attributes:
        marks: columns that it has beside the captions, by which it is known.
        captions: a pattern of the columns that hold captions.
    """

    marks: tuple[str, ...]
    captions: str

    def columns(self, available: Iterable[str]) -> tuple[str, ...]:
        """Which of these columns hold captions: `caption_2` before `caption_10`."""
        found = [name for name in available if re.fullmatch(self.captions, name)]
        return tuple(sorted(found, key=lambda name: (len(name), name)))


LAYOUTS = {
    "clotho": Layout(marks=("file_name",), captions=r"caption_\d+|captions"),
    "audiocaps": Layout(marks=("youtube_id",), captions=r"captions?"),
    "musiccaps": Layout(marks=("ytid",), captions=r"caption"),
    "wavcaps": Layout(marks=("id", "duration"), captions=r"caption"),
    "bbc": Layout(marks=("location", "secs"), captions=r"description"),
}
"""By name, in the order in which a file is compared with them."""


def detect(available: Sequence[str]) -> tuple[str, ...]:
    """The columns with captions in a file of a layout that is known, else none."""
    for layout in LAYOUTS.values():
        if set(layout.marks) <= set(available) and (found := layout.columns(available)):
            return found
    return ()


CANDIDATES = (TEXT, "caption", "captions", "description", *(f"caption_{number}" for number in range(1, 10)))
"""Columns that hold captions in some layout."""
