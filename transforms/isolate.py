"""Failure domain = one record: when a model fails on a batch, split the batch until the culprit stands alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from sonogloss.errors import Code, InputError
from sonogloss.records import Clip, DeadLetter

T = TypeVar("T")
R = TypeVar("R")


def run_isolated(run: Callable[[Sequence[T]], Sequence[R]], items: Sequence[T]) -> list[R | Exception]:
    """Run a model on a batch; where it fails, on its halves, down to single items.

    Lack of memory ends the same way: halves are tried until they fit. An :class:`InputError` is about the whole job and
    goes up untouched.

    Returns:
        One entry an item, in order: its result, or the exception it raised alone.
    """
    if not items:
        return []
    try:
        results = list(run(items))
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever a model raises, its neighbours must not pay for it
        if len(items) == 1:
            return [error]
    else:
        if len(results) != len(items):
            raise RuntimeError(f"a model answered {len(results)} results for {len(items)} items")
        return list(results)
    # Outside the handler: the exception's traceback holds the tensors of the failed attempt alive.
    middle = len(items) // 2
    return run_isolated(run, items[:middle]) + run_isolated(run, items[middle:])


def failure(clip: Clip, stage: str, error: Exception) -> DeadLetter:
    """The dead letter of a clip on which a model failed alone."""
    code = Code.OUT_OF_MEMORY if out_of_memory(error) else Code.MODEL_FAILED
    sentence = " ".join(f"{type(error).__name__}: {error}".split())[:500]
    return dead_letter(clip, stage, code, sentence)


def dead_letter(clip: Clip, stage: str, code: Code, message: str) -> DeadLetter:
    """A dead letter that names this clip."""
    return DeadLetter(
        clip_id=clip.clip_id, uri=clip.uri, member=clip.member, stage=stage, code=code.value, message=message
    )


def out_of_memory(error: Exception) -> bool:
    """Did the model run out of memory? torch says so by a class of its own, by RuntimeError, or not at all."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "out of memory" in str(error).lower()
        or "can't allocate memory" in str(error).lower()
    )
