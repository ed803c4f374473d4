"""Options of `make-captioner`."""

from __future__ import annotations

import argparse

from sonogloss.pipelines.options.shared import Parser, clap, device, make_command, output, positive


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = make_command(
        commands,
        "make-captioner",
        "put a captioner together from models as they come, without training",
        "sonogloss make-captioner --method zeraucap --clap clap --language-model facebook/opt-1.3b "
        "--labels class_labels_indices.csv --output captioner",
    )
    parser.add_argument("--method", choices=["zeraucap"], default="zeraucap", help="the method (%(default)s)")
    clap(parser, default="pocket")
    parser.add_argument("--language-model", required=True, metavar="L", help="a directory or a hub id, any causal one")
    parser.add_argument(
        "--labels",
        nargs="+",
        action="extend",
        required=True,
        metavar="FILE",
        help="keywords: pocket, one a line, or a csv or json with names, split at commas; several are joined",
    )
    output(parser, "the captioner's directory")
    # The defaults are those of methods.zeraucap.prompt and methods.zeraucap.settings, held equal by a test.
    parser.add_argument("--keywords", type=int, default=2, metavar="N", help="named in a prompt (%(default)s)")
    parser.add_argument(
        "--objects", default="Objects: {keywords}. ", metavar="TEXT", help="the sentence that names them (%(default)r)"
    )
    parser.add_argument(
        "--lead", default="This is a sound of ", metavar="TEXT", help="words that a caption continues (%(default)r)"
    )
    parser.add_argument(
        "--candidates", type=positive, default=45, metavar="M", help="next tokens that compete (%(default)s)"
    )
    parser.add_argument("--alpha", type=float, default=0.0, metavar="X", help="repetition penalty (%(default)s)")
    parser.add_argument("--beta", type=float, default=0.5, metavar="X", help="weight of CLAP's guidance (%(default)s)")
    parser.add_argument("--kappa", type=float, default=10.0, metavar="X", help="sharpness of it (%(default)s)")
    parser.add_argument(
        "--gamma", type=float, default=0.1, metavar="X", help="penalty on ending at step t is X * t (%(default)s)"
    )
    parser.add_argument(
        "--max-tokens", type=positive, default=78, metavar="N", help="prompt and caption together (%(default)s)"
    )
    parser.add_argument("--compat", action="store_true", help="the end penalty as the released code applies it")
    parser.add_argument("--overwrite", action="store_true", help="replace a captioner that is there already")
    device(parser)
