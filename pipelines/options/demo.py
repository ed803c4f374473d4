"""Options of `demo`."""

from __future__ import annotations

import argparse

from sonogloss.pipelines.options.shared import Parser, make_command


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = make_command(
        commands, "demo", "the whole walk on the embedded models: datastore, audio, captions, metrics", "sonogloss demo"
    )
    parser.add_argument("--output", default="demo-output", metavar="DIR", help="where everything is left (%(default)s)")
