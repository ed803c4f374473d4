"""Failure domain = one record: when a model fails on a batch, split the batch until the culprit stands alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from sonogloss.errors import ClipError, Code, InputError, TransientError
from sonogloss.records import DeadLetter
from sonogloss.transforms.work import Batch

T = TypeVar("T")
R = TypeVar("R")


def run_isolated(run: Callable[[Sequence[T]], Iterable[R]], items: Sequence[T]) -> list[R | Exception]:
    """Run a model on a batch; where it fails, on its halves, down to single items.

    Lack of memory ends the same way: halves are tried until they fit. An :class:`InputError` is about the whole job and
    a :class:`TransientError` about a store that cannot be reached: both go up untouched.

    Returns:
        One entry an item, in order: its result, or the exception it raised alone.

    Raises:
        RuntimeError: the model gave more or fewer results than it got items.
    """
    if not items:
        return []
    try:
        results = list(run(items))
    except (InputError, TransientError):
        raise
    except Exception as error:  # noqa: BLE001  # whatever a model raises on one item, the others go on
        if len(items) == 1:
            return [error]
    else:
        if len(results) != len(items):
            raise RuntimeError(f"a model answered {len(results)} results for {len(items)} items")
        return list(results)
    # Outside the handler: the exception's traceback holds the tensors of the failed attempt alive.
    middle = len(items) // 2
    return run_isolated(run, items[:middle]) + run_isolated(run, items[middle:])


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
            failures[row] = dead_letter(error, stage=stage, uri=clip.uri, member=clip.member, clip_id=clip.clip_id)
    return batch.without(failures), results


def dead_letter(
    error: Exception, *, stage: str, uri: str, member: str | None = None, clip_id: str | None = None
) -> DeadLetter:
    """The dead letter of a clip, or of a source that could not be cut, by what :func:`as_clip_error` says."""
    failure = as_clip_error(error)
    return DeadLetter(
        clip_id=clip_id,
        uri=uri,
        member=member,
        stage=stage,
        code=failure.code.value,
        message=failure.message,
        byte_offset=failure.byte_offset,
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
