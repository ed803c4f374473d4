"""Options of `verify`."""

from __future__ import annotations

import argparse

from sonogloss.pipelines.options.shared import Parser, make_command


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = make_command(
        commands,
        "verify",
        "recompute every digest and count of a datastore, captioner or results directory",
        "sonogloss verify results",
    )
    parser.add_argument("directory", metavar="DIR")
