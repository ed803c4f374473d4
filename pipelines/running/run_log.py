"""The log of a run: its start, options, progress, warnings, dead letters and end, one line each, in a file.

The terminal shows what it shows without a log. Warnings of Beam's worker processes are in the log as well.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

from sonogloss import __version__
from sonogloss.errors import OutputError
from sonogloss.pipelines.running.failures import failure_of
from sonogloss.pipelines.running.signals import cleaning
from sonogloss.pipelines.running.terminal import plain

Format = Literal["text", "json"]

_WORKER = re.compile(r"Worker: severity: .*? message: \"(.*)\" +(?:instruction_id|transform_id|log_location|thread)")
_OF_EVERY_JOB = ("No semi_persistent_directory found", "apitools not found")

_RUN = logging.getLogger("sonogloss.run")
_RUN.addHandler(logging.NullHandler())
_RUN.propagate = False  # what it says is on the terminal already


def log_event(event: str, message: str, /, *, level: int = logging.INFO, **fields: Any) -> None:
    """Write a line to the log, if there is one.

    Args:
        event: what happened: start, note, progress, dead_letter, skipped, problem, result, error, end.
        message: for a person.
        level: of :mod:`logging`.
        **fields: for a program; they are entries of a line of JSON.
    """
    _RUN.log(level, "%s", message, extra={"event": event, "entries": fields})


def is_logging() -> bool:
    """Does this run keep a log?"""
    return any(isinstance(handler, logging.FileHandler) for handler in _RUN.handlers)


@contextmanager
def run_log(path: str | None, kind: Format, command: str, options: Mapping[str, Any]) -> Iterator[None]:
    """Keep a log of a command from its start to its end.

    Args:
        path: the file, local; lines are added to its end. None keeps no log.
        kind: lines of text or of JSON.
        command: its name.
        options: what it was given.

    Raises:
        OutputError: the file cannot be written.
    """
    if path is None:
        yield
        return
    handler = _open(path, kind)
    began = time.monotonic()
    words = " ".join(f"{name}={value}" for name, value in options.items())
    with _attached(handler), cleaning(partial(_log_end, began)):
        log_event(
            "start",
            f"sonogloss {__version__} {command}: {words}",
            command=command,
            version=__version__,
            pid=os.getpid(),
            options=options,
        )
        try:
            yield
        except BaseException as error:
            failure = failure_of(error)
            log_event("error", str(failure), level=logging.ERROR, **failure.as_json()["error"])
            raise


def log_report(report: Mapping[str, Any]) -> None:
    """Write to the log what a report says of failures, and what came out."""
    for name in ("dead_letter_codes", "skipped_codes"):
        for code, count in report.get(name, {}).items():
            event = name.removesuffix("_codes")
            log_event(event, f"{count:,} x {code}", level=logging.WARNING, code=code, count=count)
    for problem in report["problems"]:
        log_event("problem", problem, level=logging.WARNING)
    result = {name: report[name] for name in ("output", "counts", "taken_over", "computed") if name in report}
    log_event("result", " ".join(f"{name}={value}" for name, value in result.items()), **result)


def _log_end(began: float) -> None:
    seconds = round(time.monotonic() - began, 3)
    log_event("end", f"ended after {seconds:.1f} s", seconds=seconds)


def _open(path: str, kind: Format) -> logging.FileHandler:
    if "://" in path:
        raise OutputError(f"--log-file {path!r} is no local file.", "Name one; copy it when the job is done.")
    try:
        handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise OutputError(
            f"--log-file {path!r} cannot be written ({error.strerror}).", "Name a file in a folder that is there."
        ) from error
    handler.setFormatter(_Lines(kind))
    handler.addFilter(_matters)
    return handler


@contextmanager
def _attached(handler: logging.Handler) -> Iterator[None]:
    """Warnings of every library go to the log, and to the terminal only what went there before."""
    root, beam = logging.getLogger(), logging.getLogger("apache_beam")
    levels = [(logger, logger.level) for logger in (_RUN, root, beam)]
    shown = [(other, _ShownBefore(root.getEffectiveLevel(), beam.getEffectiveLevel())) for other in root.handlers]
    for other, condition in shown:
        other.addFilter(condition)
    before = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        before(message, category, *where, **more)
        log_event("note", f"{category.__name__}: {message}", level=logging.WARNING)

    _RUN.setLevel(logging.INFO)
    for logger in (root, beam):
        logger.setLevel(min(logging.WARNING, logger.getEffectiveLevel()))
    for logger in (_RUN, root):
        logger.addHandler(handler)
    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before
        for logger in (_RUN, root):
            logger.removeHandler(handler)
        for logger, level in levels:
            logger.setLevel(level)
        for other, condition in shown:
            other.removeFilter(condition)
        handler.close()


class _ShownBefore(logging.Filter):
    def __init__(self, root: int, beam: int) -> None:
        super().__init__()
        self._root, self._beam = root, beam

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= (self._beam if record.name.startswith("apache_beam") else self._root)


def _matters(record: logging.LogRecord) -> bool:
    """Is this more than what Beam says of every job?"""
    message = record.getMessage()
    return not any(text in message for text in _OF_EVERY_JOB)


class _Lines(logging.Formatter):
    """One record, one line; also a traceback, and also what a worker's message holds."""

    def __init__(self, kind: Format) -> None:
        super().__init__()
        self._kind = kind

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if worker := _WORKER.match(message):
            message = f"worker: {worker[1]}"
        if record.exc_info:
            message = f"{message}\n{self.formatException(record.exc_info)}"
        now = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        event, level = getattr(record, "event", "library"), record.levelname.lower()
        if self._kind == "text":
            return f"{now} {level} {event}: {plain(message)}"
        logger = {} if hasattr(record, "event") else {"logger": record.name}
        entries = {"time": now, "level": level, "event": event, "message": message, **logger}
        return json.dumps({**entries, **getattr(record, "entries", {})}, default=str)
