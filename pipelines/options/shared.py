"""The parser, and the options that several commands have."""

from __future__ import annotations

import argparse
from typing import NoReturn

from sonogloss.errors import OptionError


class Parser(argparse.ArgumentParser):
    """argparse, except that options are never abbreviated and mistakes become our one-line errors."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and ending the process."""
        raise OptionError(message[:1].upper() + message[1:] + ".", f"See `{self.prog} --help`.")


def make_command(commands: argparse._SubParsersAction[Parser], name: str, summary: str, example: str) -> Parser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[:1].upper() + summary[1:] + ("" if summary.endswith("?") else "."),
        epilog=f"example:\n  {example}",
    )
    parser.add_argument("--json", action="store_true", help="print a machine-readable result on standard output")
    parser.add_argument("--verbose", action="store_true", help="show the engine's own log")
    return parser


def output(parser: Parser, what: str) -> None:
    parser.add_argument("--output", required=True, metavar="DIR", help=what)


def clap(parser: Parser, *, default: str | None) -> None:
    what = "%(default)s" if default else "the one the others were made with"
    names = "pocket, pocket:ordered, a directory, a hub id or laion:CKPT.pt"
    parser.add_argument("--clap", default=default, metavar="C", help=f"{names} ({what})")


def device(parser: Parser) -> None:
    parser.add_argument("--device", default="auto", metavar="D", help="cpu, cuda, or auto (%(default)s)")


def max_dead_letters(parser: Parser, what: str) -> None:
    parser.add_argument(
        "--max-dead-letters", type=float, default=0.05, metavar="SHARE", help=f"share of {what} (%(default)s)"
    )


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)
