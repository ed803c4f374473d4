"""Options of `caption`."""

from __future__ import annotations

import argparse

from pipelines.options.shared import Parser, clap, device, make_command, max_dead_letters, output, positive


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = make_command(
        commands,
        "caption",
        "caption audio files",
        "sonogloss caption --audio 'recordings/**/*.wav' --datastore store --output results",
    )
    parser.add_argument(
        "--audio", nargs="+", action="extend", required=True, metavar="GLOB", help="files, folders or quoted globs"
    )
    parser.add_argument("--datastore", required=True, metavar="DIR", help="made by build-datastore")
    output(parser, "the results directory")
    parser.add_argument("--captioner", default="pocket", metavar="C", help="pocket, or a directory (%(default)s)")
    clap(parser, default=None)
    parser.add_argument(
        "--contexts", type=int, metavar="K", help="captions shown to the decoder (default: as it was trained, 3)"
    )
    parser.add_argument("--window", type=float, default=10.0, metavar="S", help="seconds a clip (%(default)s)")
    parser.add_argument(
        "--hop", type=float, metavar="S", help="seconds from one clip's start to the next (default: the window)"
    )
    parser.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="take over what an earlier, interrupted run left (the default), or begin anew",
    )
    parser.add_argument("--dry-run", action="store_true", help="check everything, caption one file, write nothing")
    parser.add_argument("--embedding", action="store_true", help="add each clip's CLAP embedding to its row")
    parser.add_argument(
        "--projection",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="carry embeddings onto the text support (the default)",
    )
    parser.add_argument("--beams", type=positive, metavar="N", help="beams in decoding (default: the captioner's)")
    max_dead_letters(parser, "inputs that may fail")
    device(parser)
