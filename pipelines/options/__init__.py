"""The command line's options, one file a command. Nothing heavy is imported here: `--help` must answer at once."""

from __future__ import annotations

import argparse

from sonogloss import __version__
from sonogloss.pipelines.options import post_train_clap, tune_labels, zste
from sonogloss.pipelines.options.shared import Parser

__all__ = ["make_parser", "option_names"]

# In the order of `sonogloss --help`.
_COMMANDS = (tune_labels, post_train_clap, zste)

_EPILOG = """\
Options that a command does not know go to Apache Beam: --runner, --direct_num_workers, --direct_running_mode,
--project, --region, --temp_location ... The default runner works in this process.

exit codes: 0 done; 1 finished, but inputs are missing from the accounts or too many failed; 2 bad arguments or inputs;
130 interrupted (what is committed stays valid)."""


def make_parser() -> Parser:
    """The parser of the whole command line."""
    parser = Parser(prog="sonogloss", description="Caption audio collections, zero-shot, at scale.", epilog=_EPILOG)
    parser.add_argument("--version", action="version", version=f"sonogloss {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for command in _COMMANDS:
        command.add(commands)
    return parser


def option_names(command: str) -> list[str]:
    """The long options of a command, for hints."""
    sub = next(a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction)).choices[command]
    return [name for action in sub._actions for name in action.option_strings if name.startswith("--")]
