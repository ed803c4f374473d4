"""Options of `search`."""

from __future__ import annotations

import argparse

from sonogloss.pipelines.options.shared import Parser, clap, device, make_command, positive


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = make_command(
        commands,
        "search",
        "what does a datastore hold near this text or sound?",
        "sonogloss search store --text 'a dog barks'",
    )
    parser.add_argument("datastore", metavar="DATASTORE")
    query = parser.add_mutually_exclusive_group(required=True)
    query.add_argument("--text", metavar="T", help="a sentence")
    query.add_argument("--audio", metavar="FILE", help="a recording; every window is looked up")
    parser.add_argument("-k", type=positive, default=5, metavar="K", help="captions a query (%(default)s)")
    clap(parser, default=None)
    device(parser)
