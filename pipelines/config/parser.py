"""A job as a command and as a Python function, from the fields of its configuration.

`caption(CaptionConfig(...))` and `caption(audio=..., output=...)` both work and are typed.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Generic, Literal, NoReturn, ParamSpec, TypeVar, get_args, get_origin, overload

from sonogloss.errors import OptionError
from sonogloss.pipelines.config.fields import Setting, settings_of
from sonogloss.pipelines.running.terminal import note

JOB = "running the job"
"""The group that stands last in `--help`."""
_UNSET = argparse.SUPPRESS  # the dataclass alone knows the defaults


class Parser(argparse.ArgumentParser):
    """argparse without abbreviations, whose mistakes are one-line errors."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and ending the process."""
        raise OptionError(message[:1].upper() + message[1:] + ".", f"See `{self.prog} --help`.")


def add_options(parser: argparse.ArgumentParser, config: type) -> None:
    """Add the options of a configuration, under the headings of their groups."""
    groups: dict[str | None, list[Setting]] = {}
    for setting in settings_of(config):
        groups.setdefault(setting.option.group, []).append(setting)
    for name in sorted(groups, key=lambda name: (name is not None, name == JOB)):
        target = parser if name is None else parser.add_argument_group(name)
        for setting in groups[name]:
            _add(target, setting)


def usage(command: str, config: type) -> str:
    """The usage line: what is required, and that there is more."""
    required = [setting for setting in settings_of(config) if setting.required]
    words = [
        " ".join(filter(None, [None if setting.option.positional else setting.flag, _metavar(setting)]))
        + (" ..." if setting.several else "")
        for setting in required
    ]
    return " ".join(["sonogloss", command, *words, "[options]"])


def _add(target: Any, setting: Setting) -> None:
    keywords: dict[str, Any] = {"help": help_text(setting), "default": _UNSET}
    if not setting.option.positional:
        keywords |= {"dest": setting.name, "required": setting.required}
    if setting.kind is bool:
        keywords |= (
            {"action": argparse.BooleanOptionalAction} if setting.switch else {"action": "store_const", "const": True}
        )
    else:
        keywords |= {"type": _converter(setting), "metavar": _metavar(setting)}
        if setting.several and setting.option.parse is None:
            keywords["nargs"] = setting.option.count or "+"
            keywords["action"] = "store" if setting.option.count else "extend"
    target.add_argument(setting.name if setting.option.positional else setting.flag, **keywords)


def help_text(setting: Setting) -> str:
    """The help of an option, with its default."""
    if setting.required:
        return _escape(setting.option.help)
    names = setting.names
    choices = f"{', '.join(names)}; " if names is not None and setting.option.metavar is not None else ""
    return _escape(f"{setting.option.help} ({choices}default: {default_text(setting)})")


def default_text(setting: Setting) -> str:
    """The default in words."""
    if setting.option.default_text is not None:
        return setting.option.default_text
    default = setting.default
    if default is None or default == ():
        return "none"
    if isinstance(default, bool):
        return "on" if default else "off"
    values = default if isinstance(default, tuple) else (default,)
    return " ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)


def _escape(text: str) -> str:
    return text.replace("%", "%%")


def _metavar(setting: Setting) -> str | None:
    if setting.option.metavar is None and setting.names is not None:
        return f"{{{','.join(setting.names)}}}"
    return setting.option.metavar or {int: "N", float: "X"}.get(setting.kind, "TEXT")


def _converter(setting: Setting) -> Any:
    if setting.option.parse is not None:
        return _caught(setting.option.parse)
    kinds = get_args(setting.kind) if get_origin(setting.kind) not in (None, Literal) else (setting.kind,)

    def convert(text: str) -> Any:
        for kind in kinds:
            if get_origin(kind) is Literal and text in get_args(kind):
                return text
        for kind, words in ((int, "a whole number"), (float, "a number")):
            if kind in kinds:
                try:
                    return kind(text)
                except ValueError:
                    named = [repr(name) for part in kinds if get_origin(part) is Literal for name in get_args(part)]
                    raise argparse.ArgumentTypeError(f"must be {' or '.join([words, *named])}, got {text!r}") from None
        return text

    return convert


def _caught(parse: Any) -> Any:
    def convert(text: str) -> Any:
        try:
            return parse(text)
        except OptionError as error:
            raise argparse.ArgumentTypeError(error.what.rstrip(".")) from None

    return convert


def without_old_spellings(arguments: Sequence[str], config: type) -> list[str]:
    """The arguments with today's names of options; a note on standard error names each old one."""
    now = {alias: setting.flag for setting in settings_of(config) for alias in setting.option.aliases}
    found = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name in now:
            note(f"{name} is now {now[name]}")
            argument = f"{now[name]}{equals}{value}"
        found.append(argument)
    return found


def with_leading_values(arguments: Sequence[str], config: type) -> list[str]:
    """The arguments, where those right behind the command are given to the option that takes them."""
    flag = next((setting.flag for setting in settings_of(config) if setting.option.leading), None)
    if flag is None or not arguments or arguments[0].startswith("-"):
        return list(arguments)
    return [flag, *arguments]


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
