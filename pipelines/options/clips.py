"""Options of the commands that make pairs of labelled clips."""

from __future__ import annotations

from sonogloss.pipelines.options.shared import Parser


def which_clips(parser: Parser, *, several: bool) -> None:
    parser.add_argument(
        "--clips",
        required=True,
        metavar="DIR",
        help="a folder with metadata.csv (filename, class) or one sub-folder a class; soundscapes: rendered sounds",
        **({"nargs": "+", "action": "extend"} if several else {}),
    )
    parser.add_argument("--folds", nargs="+", default=[], metavar="F", help="only clips of these folds (column fold)")
    parser.add_argument(
        "--held-out-classes",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the classes, chosen by name, that post-train-clap leaves out and zste then is about (0)",
    )


def pairs(parser: Parser) -> None:
    group = parser.add_argument_group("how two clips become one")
    group.add_argument("--crossfade", type=float, default=0.0, metavar="S", help="seconds of it in sequences (0)")
    group.add_argument("--level", type=float, metavar="DB", help="RMS level of every clip (default: as it is)")
    group.add_argument(
        "--overlay-level", type=float, default=0.0, metavar="DB", help="of the second clip of an overlay (0)"
    )
