"""A job as a Python function: `caption(CaptionConfig(...))` and `caption(audio=..., output=...)`, both typed."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar, overload

from sonogloss.pipelines.config.fields import settings_of
from sonogloss.pipelines.config.parser import default_text

P = ParamSpec("P")
C = TypeVar("C")
R = TypeVar("R")


class Command(Generic[P, C, R]):
    """A function of one configuration that takes the configuration's fields as keywords too.

    Attributes:
        config: the configuration's class.
    """

    def __init__(self, config: Callable[P, C], run: Callable[[C], R]) -> None:
        self.config, self._run = config, run
        self.__name__, self.__qualname__, self.__module__ = run.__name__, run.__qualname__, run.__module__
        self.__doc__ = _documented(run, config)
        self.__signature__ = inspect.signature(config)
        self.__wrapped__ = run

    @overload
    def __call__(self, config: C, /) -> R: ...
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...
    def __call__(self, *args: Any, **kwargs: Any) -> R:
        """Run the job."""
        if args and isinstance(args[0], self.config):  # type: ignore[arg-type]  # it is a class, typed by its call
            return self._run(*args)
        return self._run(self.config(*args, **kwargs))


def command(config: Callable[P, C]) -> Callable[[Callable[[C], R]], Command[P, C, R]]:
    """Decorate the function of a job; its docstring gets the options, from the configuration's fields."""

    def decorate(run: Callable[[C], R]) -> Command[P, C, R]:
        return Command(config, run)

    return decorate


def _documented(run: Callable[..., Any], config: Any) -> str:
    head, marker, rest = inspect.cleandoc(run.__doc__ or "").partition("Returns:")
    lines = []
    for setting in settings_of(config):
        default = "" if setting.required else f" Default: {default_text(setting)}."
        lines.append(f"    {setting.name}: {setting.option.help}.{default}")
    return f"{head}Args:\n" + "\n".join(lines) + f"\n\n{marker}{rest}"
