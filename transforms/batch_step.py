"""Beam steps around pure functions: models load once on the worker, and the time of every step is noted.

::

    batches | "Score" >> BatchStep(score, clap=ClapReference.of("pocket"))

On a worker, set-up loads every argument that is a :class:`~sonogloss.transforms.models.Reference`; each batch then goes
through `score(batch, clap=clap)`. The function keeps failures to single clips (:mod:`sonogloss.transforms.isolate`).
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsSideInput, PCollection
from apache_beam.transforms.combiners import ToList

from sonogloss.transforms.models import Reference
from sonogloss.transforms.work import Batch


class Step(beam.PTransform[PCollection[Any], PCollection[Any]]):
    """Elements -> what a function makes of each.

    Args:
        function: takes an element and the arguments; it travels to the workers by its name.
        arguments: by name; references are loaded on the worker first.

    Raises:
        TypeError: the function does not take these arguments.
    """

    def __init__(self, function: Callable[..., Any], /, **arguments: Any) -> None:
        super().__init__()
        inspect.signature(function).bind(None, **arguments)
        self._label = function.__name__
        self._fn: beam.DoFn = _StepFn(function, arguments)

    def run_here(self, elements: Iterable[Any]) -> Iterator[Any]:
        """What the function makes of the elements, in this process."""
        self._fn.setup()
        self._fn.start_bundle()
        for element in elements:
            yield from self._fn.process(element)

    def expand(self, pcoll: PCollection[Any]) -> PCollection[Any]:
        return pcoll | self._label >> beam.ParDo(self._fn)


class BatchStep(Step):
    """Batches -> the same batches further on, by a function that returns the batch; its seconds are noted in it.

    Args:
        function: as of :class:`Step`.
        stage: the name that its seconds go by; by default the function's.
        arguments: as of :class:`Step`.
    """

    def __init__(self, function: Callable[..., Batch], /, *, stage: str | None = None, **arguments: Any) -> None:
        super().__init__(function, **arguments)
        self._fn = _StepFn(partial(timed, stage or function.__name__, function), arguments)


class Gather(beam.PTransform[PCollection[Any], PCollection[Any]]):
    """All elements, as one list in any order -> what a function makes of them.

    Args:
        function: takes the list and the arguments.
        side_inputs: further arguments that Beam computes.
        arguments: by name.
    """

    def __init__(self, function: Callable[..., Any], /, *side_inputs: AsSideInput, **arguments: Any) -> None:
        super().__init__()
        self._label = function.__name__
        self._map = beam.Map(function, *side_inputs, **arguments)

    def expand(self, pcoll: PCollection[Any]) -> PCollection[Any]:
        return pcoll | "ToList" >> ToList() | self._label >> self._map


class _StepFn(beam.DoFn):
    def __init__(self, function: Callable[..., Any], arguments: dict[str, Any]) -> None:
        self._function = function
        self._arguments = arguments

    def setup(self) -> None:
        self._loaded = {
            name: value.load() if isinstance(value, Reference) else value for name, value in self._arguments.items()
        }

    def process(self, element: Any) -> Iterator[Any]:
        yield self._function(element, **self._loaded)


def timed(stage: str, function: Callable[..., Batch], batch: Batch, **arguments: Any) -> Batch:
    """Run a step's function on a batch and note the seconds it took."""
    start = time.perf_counter()
    result = function(batch, **arguments)
    return replace(result, seconds={**batch.seconds, stage: time.perf_counter() - start})
