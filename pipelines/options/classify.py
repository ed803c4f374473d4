"""Options of `classify`."""

from __future__ import annotations

import argparse

from sonogloss.pipelines.options.shared import Parser, clap, device, make_command, max_dead_letters, output, positive


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = make_command(
        commands,
        "classify",
        "tag audio files with labels of yours, zero-shot",
        "sonogloss classify --audio 'recordings/**/*.wav' --labels labels.txt --output tags",
    )
    parser.add_argument(
        "--audio", nargs="+", action="extend", required=True, metavar="GLOB", help="files, folders or quoted globs"
    )
    parser.add_argument(
        "--labels", required=True, metavar="FILE|NAME", help="one a line, csv or json with names; or pocket"
    )
    output(parser, "the results directory")
    clap(parser, default=None)
    parser.add_argument("--label-prompts", metavar="DIR", help="made by tune-labels; in place of a template")
    parser.add_argument(
        "--template",
        nargs="+",
        action="extend",
        default=[],
        metavar="T",
        help="sentences with {label}; embeddings of several are averaged (this is a sound of {label})",
    )
    parser.add_argument("--top", type=positive, metavar="K", help="labels a row, at most (5; all with --multi-label)")
    parser.add_argument(
        "--multi-label", action="store_true", help="several labels may be true: name all that reach the threshold"
    )
    parser.add_argument("--threshold", type=float, metavar="S", help="lowest score, a cosine, of a label that is named")
    parser.add_argument("--all-scores", action="store_true", help="add a column with the scores of all labels")
    parser.add_argument("--window", type=float, default=10.0, metavar="S", help="seconds a clip (%(default)s)")
    parser.add_argument(
        "--hop", type=float, metavar="S", help="seconds from one clip's start to the next (default: the window)"
    )
    parser.add_argument(
        "--max-windows", type=positive, metavar="N", help="clips of a recording, from its start (default: all)"
    )
    parser.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="take over what an earlier, interrupted run left (the default), or begin anew",
    )
    parser.add_argument("--dry-run", action="store_true", help="check everything, tag one file, write nothing")
    max_dead_letters(parser, "inputs that may fail")
    device(parser)
