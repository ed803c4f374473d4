"""Options of `evaluate`."""

from __future__ import annotations

import argparse

from sonogloss.pipelines.options.shared import Parser, make_command, output


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = make_command(
        commands,
        "evaluate",
        "compare captions with references",
        "sonogloss evaluate --results results --references references.jsonl --output metrics",
    )
    parser.add_argument(
        "--results", required=True, metavar="PATH", help="a results directory, or jsonl, csv or parquet"
    )
    parser.add_argument("--references", required=True, metavar="FILE", help="jsonl, csv or parquet with a key column")
    output(parser, "where metrics/corpus.parquet and metrics/clips.parquet go")
    parser.add_argument("--metrics", metavar="LIST", help="names, separated by commas (default: all that can be had)")
    parser.add_argument("--tokenizer", choices=["simple", "ptb", "whitespace"], default="simple", help="(%(default)s)")
