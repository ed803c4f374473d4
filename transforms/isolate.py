"""Failure domain = one record: when a model fails on a batch, split the batch until the culprit stands alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

from sonogloss.errors import RETRYABLE, ClipError, Code, RemedyError
from sonogloss.records import Clip, DeadLetter
from sonogloss.transforms.work import Batch

T = TypeVar("T")
R = TypeVar("R")


_fitting: dict[str, int] = {}
"""The largest batch of each step that fitted into memory, after one that did not; of this worker."""


def run_isolated(run: Callable[[Sequence[T]], Iterable[R]], items: Sequence[T], *, stage: str) -> list[R | Exception]:
    """Run a model on a batch; where it fails, on its halves, down to single items.

    Lack of memory ends the same way, and later batches of the step begin with the size that fitted. A
    :class:`RemedyError` is about the whole job, or a store that cannot be reached: it goes up untouched.

    Args:
        run: the model. What it makes of an item does not depend on the others.
        items: the batch.
        stage: the step, which remembers the size.

    Returns:
        One entry an item, in order: its result, or the exception it raised alone.

    Raises:
        RuntimeError: the model gave more or fewer results than it got items.
    """
    largest = _fitting.get(stage, len(items)) or 1
    outcomes: list[R | Exception] = []
    fitted: list[int] = []
    for start in range(0, len(items), largest):
        outcomes += _halved(run, items[start : start + largest], fitted, short=False)
    if fitted:
        # The largest of these, for one item that never fits must not leave all others alone.
        _fitting[stage] = max(fitted)
    return outcomes


def forget_sizes() -> None:
    """Begin with whole batches again."""
    _fitting.clear()


def _halved(
    run: Callable[[Sequence[T]], Iterable[R]], items: Sequence[T], fitted: list[int], *, short: bool
) -> list[R | Exception]:
    """Run a batch, or its halves where it fails.

    Args:
        run: the model.
        items: the batch.
        fitted: takes the sizes that fitted into memory after a larger one had not.
        short: a larger one had not.
    """
    try:
        results = list(run(items))
    except RemedyError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever a model raises on one item, the others go on
        if len(items) == 1:
            return [error]
        short = short or out_of_memory(error)
    else:
        if len(results) != len(items):
            raise RuntimeError(f"a model answered {len(results)} results for {len(items)} items")
        if short:
            fitted.append(len(items))
        return list(results)
    # Outside the handler: the exception's traceback holds the tensors of the failed attempt alive.
    middle = len(items) // 2
    halves = items[:middle], items[middle:]
    return [outcome for half in halves for outcome in _halved(run, half, fitted, short=short)]


def drop_failures(
    batch: Batch,
    outcomes: Sequence[R | Exception],
    *,
    stage: str,
    check: Callable[[R], ClipError | None] = lambda result: None,
) -> tuple[Batch, list[R]]:
    """Turn the clips that failed into dead letters.

    Args:
        batch: the clips.
        outcomes: one a clip, see :func:`run_isolated`.
        stage: what dead letters name as the step that failed.
        check: what is wrong with a result, if anything.

    Returns:
        The batch without the clips that failed, and the results of the others.
    """
    failures: dict[int, DeadLetter] = {}
    results: list[R] = []
    for row, (clip, outcome) in enumerate(zip(batch.clips, outcomes, strict=True)):
        error = outcome if isinstance(outcome, Exception) else check(outcome)
        if error is None:
            results.append(outcome)  # type: ignore[arg-type]  # an exception would be the error
        else:
            failures[row] = clip_letter(error, clip, stage=stage)
    return batch.without(failures), results


def check_finite(*values: Any) -> ClipError | None:
    """What is wrong with arrays or numbers that a model gave for a clip, if anything."""
    if all(np.isfinite(value).all() for value in values):
        return None
    return ClipError(Code.NON_FINITE, "The model gave numbers that are not finite.")


def dead_letter(error: Exception, *, stage: str, uri: str, member: str | None = None, **where: Any) -> DeadLetter:
    """The dead letter of a source or a clip, by what :func:`as_clip_error` says.

    Args:
        error: why it failed.
        stage: the step that failed.
        uri: of the file or archive.
        member: its name in the archive.
        where: further fields of a :class:`~sonogloss.records.DeadLetter` that say which input it is.
    """
    failure = as_clip_error(error)
    return DeadLetter(
        uri=uri,
        member=member,
        stage=stage,
        code=failure.code.value,
        message=failure.message,
        byte_offset=failure.byte_offset,
        retryable=failure.code in RETRYABLE,
        **{"clip_id": None, **where},
    )


def clip_letter(error: Exception, clip: Clip, *, stage: str) -> DeadLetter:
    """The dead letter of a clip."""
    start_s, end_s = clip.source_range
    return dead_letter(
        error,
        stage=stage,
        uri=clip.uri,
        member=clip.member,
        clip_id=clip.clip_id,
        start_s=start_s,
        end_s=end_s,
        source_id=clip.source_id,
        extra=clip.extra,
    )


def as_clip_error(error: Exception) -> ClipError:
    """What a dead letter says of an exception that a model raised on one clip."""
    if isinstance(error, ClipError):
        return error
    code = Code.OUT_OF_MEMORY if out_of_memory(error) else Code.MODEL_FAILED
    return ClipError(code, " ".join(f"{type(error).__name__}: {error}".split())[:500])


def out_of_memory(error: Exception) -> bool:
    """Did the model run out of memory? torch says so by a class of its own, by RuntimeError, or not at all."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "out of memory" in str(error).lower()
        or "can't allocate memory" in str(error).lower()
    )
