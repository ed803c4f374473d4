"""Options of `zste`."""

from __future__ import annotations

import argparse

from sonogloss.pipelines.options.clips import pairs, which_clips
from sonogloss.pipelines.options.shared import Parser, device, make_command, max_dead_letters, output, positive


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = make_command(
        commands,
        "zste",
        "what does a CLAP know of the order of sounds? The temporal evaluation suite",
        "sonogloss zste --clap pocket --clips soundscapes --output order",
    )
    parser.add_argument("--clap", required=True, metavar="C", help="pocket, a directory, a hub id or laion:CKPT.pt")
    which_clips(parser, several=False)
    output(parser, "where zste/summary.parquet and zste/items.parquet go")
    parser.add_argument(
        "--items", type=positive, default=500, metavar="N", help="at most so many clips and so many pairs (%(default)s)"
    )
    parser.add_argument(
        "--released-rules", action="store_true", help="add tasks 2 and 5 as the released scripts score them"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the drawing of pairs (%(default)s)")
    pairs(parser)
    max_dead_letters(parser, "clips that may fail")
    device(parser)
