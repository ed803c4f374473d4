"""Options of `build-datastore`."""

from __future__ import annotations

import argparse

from sonogloss.pipelines.options.shared import Parser, clap, device, make_command, max_dead_letters, output, positive


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = make_command(
        commands,
        "build-datastore",
        "turn text dumps into a datastore of captions with their support",
        "sonogloss build-datastore --captions 'dumps/*.jsonl.gz' --text-column caption --output store",
    )
    parser.add_argument(
        "--captions",
        nargs="+",
        action="extend",
        required=True,
        metavar="GLOB",
        help="txt, jsonl, csv, tsv or parquet, also .gz or .zst",
    )
    output(parser, "the datastore's directory")
    clap(parser, default="pocket")
    parser.add_argument("--text-column", default="text", metavar="NAME", help="column with the captions (%(default)s)")
    parser.add_argument("--index", default="auto", metavar="KIND", help="kind of index (%(default)s)")
    parser.add_argument(
        "--shards", type=positive, metavar="N", help="number of shards (default: one per million captions)"
    )
    parser.add_argument("--source", metavar="NAME", help="what the captions are credited to (default: the file's name)")
    parser.add_argument("--license", metavar="TEXT", help="licence of the captions, kept in the manifest")
    parser.add_argument("--overwrite", action="store_true", help="replace a datastore that is there already")
    max_dead_letters(parser, "lines that may be unreadable")
    device(parser)
