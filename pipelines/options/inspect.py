"""Options of `inspect`."""

from __future__ import annotations

import argparse

from sonogloss.pipelines.options.shared import Parser, make_command


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = make_command(
        commands,
        "inspect",
        "what is this directory, what made it, how many, from where?",
        "sonogloss inspect store",
    )
    parser.add_argument("directory", metavar="DIR")
