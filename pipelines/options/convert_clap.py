"""Options of `convert-clap`."""

from __future__ import annotations

import argparse

from sonogloss.pipelines.options.shared import Parser, make_command, output


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = make_command(
        commands,
        "convert-clap",
        "turn a LAION checkpoint into a directory of safetensors, without unpickling anything",
        "sonogloss convert-clap 630k-audioset-best.pt --tokenizer roberta-base --output clap",
    )
    parser.add_argument("checkpoint", metavar="CKPT", help="the .pt file, HTSAT with RoBERTa, fused or not")
    output(parser, "the model's directory, in the layout of transformers' ClapModel")
    parser.add_argument(
        "--tokenizer",
        metavar="T",
        help="directory or hub id of the text tower's tokenizer, which no checkpoint holds; only a hub id named here "
        "is fetched (default: roberta-base, if it is on this machine)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a model that is there already")
