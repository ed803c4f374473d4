"""Options of `tune-labels`."""

from __future__ import annotations

import argparse

from sonogloss.pipelines.options.shared import Parser, clap, device, make_command, output, positive


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = make_command(
        commands,
        "tune-labels",
        "learn label prompts for classify from text alone",
        "sonogloss tune-labels --labels labels.txt --texts 'dumps/*.jsonl.gz' --text-column caption --output prompts",
    )
    parser.add_argument(
        "--labels", required=True, metavar="FILE|NAME", help="one a line, csv or json with names; or pocket"
    )
    parser.add_argument(
        "--texts",
        nargs="+",
        action="extend",
        default=[],
        metavar="GLOB",
        help="captions to search for the labels' words: txt, jsonl, csv, tsv or parquet, also .gz or .zst",
    )
    parser.add_argument("--name-only", action="store_true", help="make the texts from the labels' names instead")
    output(parser, "where the prompts go")
    clap(parser, default="pocket")
    parser.add_argument("--text-column", default="text", metavar="NAME", help="column with the captions (%(default)s)")
    parser.add_argument(
        "--keywords", metavar="FILE", help="json, phrases by label, to search for instead of the label's words"
    )
    parser.add_argument(
        "--texts-per-label", type=positive, default=64, metavar="N", help="texts a label, at most (%(default)s)"
    )
    parser.add_argument("--multi-label", action="store_true", help="a text may name several labels: ranking loss")
    parser.add_argument("--slots", type=positive, metavar="N", help="learned vectors in front of a label (32)")
    parser.add_argument("--initial", metavar="TEXT", help="words that the vectors begin with (none: noise)")
    parser.add_argument(
        "--noise-cosine",
        type=float,
        metavar="C",
        help="mean cosine of a text with the same text and its noise; 1 adds none, as published (0.85)",
    )
    parser.add_argument(
        "--keep",
        type=float,
        metavar="W",
        help="weight of keeping the dump's other words where they are; 0 as published (8)",
    )
    parser.add_argument("--epochs", type=positive, metavar="N", help="passes over the texts (10)")
    parser.add_argument("--steps", type=positive, metavar="N", help="optimiser steps, instead of whole epochs")
    parser.add_argument("--seed", type=int, metavar="N", help="of everything random (1234)")
    parser.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="go on where a run of the same options was stopped (the default), or begin anew",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace prompts learned with other options")
    device(parser)
