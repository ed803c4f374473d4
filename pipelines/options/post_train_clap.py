"""Options of `post-train-clap`."""

from __future__ import annotations

import argparse

from sonogloss.pipelines.options.clips import pairs, which_clips
from sonogloss.pipelines.options.shared import Parser, clap, device, make_command, max_dead_letters, output, positive


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = make_command(
        commands,
        "post-train-clap",
        "teach a CLAP what comes before what, from pairs of labelled clips",
        "sonogloss post-train-clap --clips soundscapes --output ordered-clap",
    )
    which_clips(parser, several=True)
    parser.add_argument(
        "--per-class", type=positive, default=40, metavar="N", help="soundscapes of each class (%(default)s)"
    )
    output(parser, "the new CLAP's directory")
    clap(parser, default="pocket")
    parser.add_argument(
        "--stages", default="A,B", metavar="LIST", help="A: one sound or two? B: in which order? (%(default)s)"
    )
    parser.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="go on where a run of the same options was (the default)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what the directory holds")
    pairs(parser)
    _learning(parser)
    _loss(parser)
    max_dead_letters(parser, "clips that may be unreadable")
    device(parser)


def _learning(parser: Parser) -> None:
    group = parser.add_argument_group("learning (default: docs/temporal.md)")
    group.add_argument("--steps", type=positive, metavar="N", help="optimiser steps of each stage")
    group.add_argument("--groups", type=positive, metavar="N", help="pairs a step")
    group.add_argument("--learning-rate", type=float, metavar="X", help="the highest learning rate")
    group.add_argument("--warmup-steps", type=int, metavar="N", help="steps over which it rises")
    group.add_argument("--weight-decay", type=float, metavar="X", help="AdamW's, on matrices")
    group.add_argument("--grad-clip", type=float, metavar="X", help="largest norm of the gradient; 0 does not clip")
    group.add_argument(
        "--tune", choices=["last", "lora"], help="what learns beside the projections: last layers, or an adapter"
    )
    group.add_argument("--layers", type=positive, metavar="N", help="last: how many stages of the audio tower")
    group.add_argument("--text-layers", type=positive, metavar="N", help="last: how many layers of the text tower")
    group.add_argument(
        "--position-rate", type=float, metavar="X", help="how many times faster the audio tower's position biases learn"
    )
    group.add_argument("--lora-rank", type=positive, metavar="N", help="lora: of the adapter")
    group.add_argument("--lora-alpha", type=positive, metavar="N", help="lora: its scale is alpha / rank")
    group.add_argument("--lora-dropout", type=float, metavar="P", help="lora: on what it reads")
    group.add_argument("--anchor", type=float, metavar="X", help="how strongly single sounds are held where they were")
    group.add_argument("--words", type=float, metavar="X", help="how much text alone teaches the text tower order")
    group.add_argument("--gain-db", type=float, metavar="DB", help="how much louder or softer clips become at random")
    group.add_argument(
        "--precision",
        choices=["auto", "float32", "bfloat16"],
        help="what is computed in (auto: what the hardware computes fast)",
    )
    group.add_argument("--validation-share", type=float, metavar="SHARE", help="of the recordings, only looked at")
    group.add_argument("--seed", type=int, metavar="N", help="of everything random")
    group.add_argument("--eval-every", type=positive, metavar="N", help="steps between two validations")
    group.add_argument("--checkpoint-every", type=positive, metavar="N", help="steps between two checkpoints")


def _loss(parser: Parser) -> None:
    group = parser.add_argument_group("loss (default: as published)")
    group.add_argument("--relations", nargs="+", metavar="WORD", help="before, after, while (all)")
    group.add_argument("--wording", choices=["published", "varied"], help="these words only, or others too (varied)")
    group.add_argument("--alpha-same", type=float, metavar="X", help="weight of the same pair in another order")
    group.add_argument("--alpha-cross", type=float, metavar="X", help="weight of other pairs in another order")
    group.add_argument("--beta", type=float, metavar="X", help="weight of reverse and overlay")
    group.add_argument("--weight", type=float, metavar="X", help="of the whole loss (lambda)")
    group.add_argument(
        "--released-loss", action="store_true", help="as the released code has it: no unit length, no temperature"
    )
