r"""What a person reads: text as it stands, whatever a caption, a label or a file name holds.

Nothing is interpreted: no markup, no emoji codes, no escape sequences. What a terminal would act on is written as
`\x1b`.
"""

from __future__ import annotations

import logging
import sys
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_ACTED_ON = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control, format, half a character, separators of lines
_JOINERS = "\u200c\u200d"  # several scripts are written with them, and emoji


def plain(text: str) -> str:
    r"""The text in one line that a terminal acts on nowhere: `\n`, `\x1b`, `\u202e` for what it would act on.

    Args:
        text: any, also with surrogates, as names have that are not UTF-8.
    """
    return "".join(_escaped(char) if unicodedata.category(char) in _ACTED_ON else char for char in text)


def _escaped(char: str) -> str:
    return char if char in _JOINERS else char.encode("unicode-escape").decode("ascii")


def note(text: str) -> None:
    """Say on standard error, and in the log of the run, what a user should know."""
    logging.getLogger("sonogloss.run").warning(text, extra={"event": "note"})
    say(f"note: {text}")


def say(text: str) -> None:
    """Print a line of ours on standard error."""
    print(f"sonogloss: {plain(text)}", file=sys.stderr, flush=True)


def plain_console() -> Console:
    """Standard output, for results: what is printed there, also in tables, is never interpreted."""
    from rich.console import Console
    from rich.text import Text

    class PlainConsole(Console):
        """Every string passes here on its way to the terminal."""

        def render_str(self, text: str, **styles: Any) -> Text:
            return super().render_str(plain(text), **styles)

        def print(self, *objects: Any, **options: Any) -> None:
            # The terminal wraps lines, so that a path stays whole in a log and where it is copied from.
            options.setdefault("soft_wrap", all(isinstance(each, str) for each in objects))
            super().print(*objects, **options)

    return PlainConsole(markup=False, emoji=False)
