"""The exception tree and the codes of dead letters.

::

    SonoglossError                  everything we raise on purpose
    |-- RemedyError                 it ends the job, and says what to do about it
    |   |-- InputError              a user's input makes the job impossible: exit code 2
    |   |   |-- OptionError         an option's value is wrong
    |   |   |-- MissingInputError   a path, a file or a glob's match is not there
    |   |   |-- OutputError         the output cannot be written
    |   |   |-- FormatError         a file is there but is not what it should be
    |   |   |   |-- ModelFormatError  ... a CLAP, a language model or a captioner directory
    |   |   |   `-- StoreFormatError  ... a datastore, a support or a results directory
    |   |   `-- FingerprintMismatchError  two parts were made with different models
    |   `-- TransientError          a store or a network failed for a reason that passes: the engine tries again
    `-- ClipError                   one record failed: it becomes a dead letter, the job goes on
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import StrEnum


class SonoglossError(Exception):
    """Base of everything this project raises on purpose.

    Attributes:
        kind: a word for programs; docs/running.md lists them.
    """

    kind: str = "FAILED"


class RemedyError(SonoglossError):
    """It ends the job, and says what to do about it.

    Args:
        what: one sentence that names the thing that is wrong (option, value, file, store).
        remedy: one sentence that says what to do about it.
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, remedy)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what} {self.remedy}"


class InputError(RemedyError):
    """An input that makes the whole job impossible."""

    kind = "INPUT"


class OptionError(InputError):
    """An option has a value that cannot be used."""

    kind = "OPTION"


class MissingInputError(InputError):
    """A path does not exist, or a glob matches nothing."""

    kind = "MISSING_INPUT"


class OutputError(InputError):
    """The output cannot be written."""

    kind = "OUTPUT"


class FormatError(InputError):
    """A file or directory is there, but is not what it should be."""

    kind = "FORMAT"


class ModelFormatError(FormatError):
    """A CLAP, language model or captioner directory is incomplete or malformed."""

    kind = "MODEL_FORMAT"


class StoreFormatError(FormatError):
    """A datastore, support or results directory is incomplete or malformed."""

    kind = "STORE_FORMAT"


class FingerprintMismatchError(InputError):
    """Two parts that must share one model were made with different ones."""

    kind = "FINGERPRINT_MISMATCH"


class TransientError(RemedyError):
    """A store or a network kept failing for a reason that passes: another try may succeed."""

    kind = "TRANSIENT"


def unknown(kind: str, name: str, choices: Iterable[str]) -> OptionError:
    """The error for a name that a registry does not hold; it lists the choices and the nearest one.

    Args:
        kind: what was asked for, as a user calls it ("metric", "index").
        name: the name that is not there.
        choices: the names that are, in the order in which a user should read them.

    Example:
        >>> print(unknown("index", "fleet", ["auto", "flat"]))
        There is no index 'fleet'. Choose one of auto, flat; did you mean 'flat'?
    """
    choices = list(choices)
    by_lower_case = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(name.lower(), by_lower_case, n=1)
    hint = f"; did you mean {by_lower_case[near[0]]!r}?" if near else "."
    return OptionError(f"There is no {kind} {name!r}.", f"Choose one of {', '.join(choices)}{hint}")


class Code(StrEnum):
    """Why one record failed; the `code` column of a dead letter."""

    EMPTY = "EMPTY"  # no bytes, or a header without samples
    UNSUPPORTED = "UNSUPPORTED"  # not audio, or a codec that cannot be decoded here
    CORRUPT = "CORRUPT"  # audio whose decoding breaks before anything usable came out
    TOO_SHORT = "TOO_SHORT"  # fewer samples than one analysis frame
    TRUNCATED = "TRUNCATED"  # the bytes end before the first sample
    TOO_LONG = "TOO_LONG"  # seconds over the limit
    TOO_MANY_CHANNELS = "TOO_MANY_CHANNELS"  # channels over the limit
    BAD_RATE = "BAD_RATE"  # a sample rate outside the limits
    LIMIT = "LIMIT"  # bytes, members, names, compression or memory over the limit
    NON_FINITE = "NON_FINITE"  # NaN or infinite samples
    TIMEOUT = "TIMEOUT"  # decoding took longer than the limit and was stopped
    CRASHED = "CRASHED"  # decoding killed its process, twice
    OUT_OF_MEMORY = "OUT_OF_MEMORY"  # the model ran out of memory on this one clip alone
    MODEL_FAILED = "MODEL_FAILED"  # the model failed on this one clip alone
    EMPTY_CAPTION = "EMPTY_CAPTION"  # decoding ended without a word
    READ_ERROR = "READ_ERROR"  # the bytes could not be fetched (missing, permission, network, changed meanwhile)
    ARCHIVE_CORRUPT = "ARCHIVE_CORRUPT"  # an archive that is cut off or damaged; its whole members are read
    ARCHIVE_UNSAFE = "ARCHIVE_UNSAFE"  # a member with a name that leads outside, a link, a device
    DUPLICATE_KEY = "DUPLICATE_KEY"  # a member with the name of one before it
    BAD_ROW = "BAD_ROW"  # a row of a listing that names no recording


RETRYABLE = frozenset({Code.READ_ERROR, Code.TIMEOUT, Code.CRASHED, Code.OUT_OF_MEMORY})
"""Codes that tell of the machine or the store as much as of the recording: it may succeed on another day."""


class ClipError(SonoglossError):
    """One record failed; carries what a dead letter needs.

    Args:
        code: the reason, one of :class:`Code`.
        message: one sentence that a person understands.
        byte_offset: where in the source the failure was met, when known.
    """

    def __init__(self, code: Code, message: str, byte_offset: int | None = None) -> None:
        super().__init__(code, message, byte_offset)
        self.code = code
        self.message = message
        self.byte_offset = byte_offset

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"
