"""How a command ends that did not succeed: its exit code, and what the user is told, as a sentence and as JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sonogloss.errors import InputError, RemedyError, SonoglossError
from sonogloss.pipelines.running.signals import Interrupted

DONE, UNSOUND, IMPOSSIBLE, INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a command ended.

    Attributes:
        exit_code: of the process.
        code: a word for programs, one of those in docs/running.md.
        message: one sentence.
        remedy: what to do about it; None where nothing is known.
        option: the option that the message names first, None where it names none.
    """

    exit_code: int
    code: str
    message: str
    remedy: str | None = None
    option: str | None = None

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        names = ("code", "option", "message", "remedy")
        return {"error": {name: getattr(self, name) for name in names}}

    def __str__(self) -> str:
        if self.code == "INTERRUPTED":
            return f"{self.message}; {self.remedy}"
        return f"error: {self.message}{f' {self.remedy}' if self.remedy else ''}"


def failure_of(error: BaseException, options: Iterable[str] = ()) -> Failure:
    """What an exception means for the user.

    Args:
        error: what ended the command.
        options: names of the command's options.
    """
    if isinstance(error, KeyboardInterrupt):
        code = error.code if isinstance(error, Interrupted) else INTERRUPTED
        remedy = "what is committed stays valid, the same command continues"
        return Failure(exit_code=code, code="INTERRUPTED", message="interrupted", remedy=remedy)
    if isinstance(error, RemedyError):
        message = " ".join(error.what.split())
        named = [word for word in re.findall(r"--?[a-z][a-z0-9_-]*", message) if word in set(options)]
        return Failure(
            exit_code=IMPOSSIBLE if isinstance(error, InputError) else UNSOUND,
            code=error.kind,
            message=message,
            remedy=" ".join(error.remedy.split()) or None,
            option=named[0] if named else None,
        )
    if isinstance(error, SonoglossError):  # the job could not go on, through no fault of its options
        return Failure(exit_code=UNSOUND, code=error.kind, message=" ".join(str(error).split()))
    message = f"{type(error).__name__}: {error}"
    return Failure(exit_code=UNSOUND, code="INTERNAL", message=message, remedy="This is a mistake of ours; report it.")
