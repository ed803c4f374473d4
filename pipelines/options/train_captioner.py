"""Options of `train-captioner`."""

from __future__ import annotations

import argparse

from sonogloss.pipelines.options.shared import Parser, clap, device, make_command, max_dead_letters, output, positive

_BOTH = argparse.BooleanOptionalAction


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = make_command(
        commands,
        "train-captioner",
        "let a decoder learn from captions alone",
        "sonogloss train-captioner --method drcap --captions 'dumps/*.jsonl.gz' --output captioner",
    )
    parser.add_argument("--method", choices=["drcap", "soft-hard"], required=True, help="what is learnt")
    parser.add_argument(
        "--captions",
        nargs="+",
        action="extend",
        required=True,
        metavar="GLOB",
        help="txt, jsonl, csv, tsv or parquet, also .gz or .zst",
    )
    output(parser, "the captioner's directory")
    clap(parser, default="pocket")
    parser.add_argument(
        "--language-model", default="pocket", metavar="L", help="a directory or hub id, any causal one (%(default)s)"
    )
    parser.add_argument("--revision", metavar="R", help="revision of a hub id")
    parser.add_argument(
        "--preset", choices=["paper"], help="the method's released numbers; without it our own (docs/methods.md)"
    )
    parser.add_argument(
        "--resume", action=_BOTH, default=True, help="go on where a run of the same options was (the default)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what the directory holds")
    _texts(parser)
    _learning(parser)
    _drcap(parser)
    _soft_hard(parser)
    _prompt(parser)
    _captioner(parser)
    max_dead_letters(parser, "lines that may be unreadable")
    device(parser)


def _texts(parser: Parser) -> None:
    group = parser.add_argument_group("texts")
    group.add_argument("--text-column", default="text", metavar="NAME", help="column with the captions (%(default)s)")
    group.add_argument(
        "--datastore", metavar="DIR", help="drcap: where contexts come from (default: the captions themselves)"
    )
    group.add_argument(
        "--labels",
        metavar="FILE",
        help="soft-hard: what hard prompts name: pocket, one a line, or a csv or json with names (default: pocket)",
    )
    group.add_argument(
        "--label-template", default="{label}", metavar="TEXT", help="what is embedded of a label (%(default)s)"
    )
    group.add_argument(
        "--languages",
        nargs="+",
        default=(),
        metavar="TAG=COLUMN",
        help="soft-hard: columns with what is to be said in each language; the first is that of the captions",
    )
    group.add_argument(
        "--validation",
        nargs="+",
        action="extend",
        default=[],
        metavar="GLOB",
        help="held-out captions: the weights of the lowest loss are kept",
    )
    group.add_argument(
        "--validation-audio",
        nargs="+",
        action="extend",
        default=[],
        metavar="GLOB",
        help="recordings: the weights of the best CIDEr-D are kept",
    )
    group.add_argument("--validation-references", metavar="FILE", help="what these recordings sound like")


def _learning(parser: Parser) -> None:
    group = parser.add_argument_group("learning (default: the preset's)")
    group.add_argument("--steps", type=positive, metavar="N", help="optimiser steps")
    group.add_argument("--batch-size", type=positive, metavar="N", help="captions a step, over all processes")
    group.add_argument("--accumulation", type=positive, metavar="N", help="parts a batch is computed in (1)")
    group.add_argument("--learning-rate", type=float, metavar="X", help="the highest learning rate")
    group.add_argument("--warmup-steps", type=int, metavar="N", help="steps over which it rises")
    group.add_argument("--schedule", choices=["linear", "cosine"], help="how it falls from there to 0")
    group.add_argument("--weight-decay", type=float, metavar="X", help="AdamW's, on matrices")
    group.add_argument("--betas", type=float, nargs=2, metavar="X", help="AdamW's")
    group.add_argument("--grad-clip", type=float, metavar="X", help="largest norm of the gradient; 0 does not clip")
    group.add_argument("--tune", choices=["all", "lora", "none"], help="what learns of the language model")
    group.add_argument("--lora-rank", type=positive, metavar="N", help="of the adapter (8)")
    group.add_argument("--lora-alpha", type=positive, metavar="N", help="its scale is alpha / rank (32)")
    group.add_argument("--lora-dropout", type=float, metavar="P", help="on what it reads (0.05)")
    group.add_argument(
        "--lora-targets", nargs="+", metavar="NAME", help="modules to adapt (query and value projections)"
    )
    group.add_argument(
        "--precision",
        choices=["auto", "float32", "bfloat16", "float16"],
        help="what is computed in (auto: what the hardware computes fast); float16 on a GPU only",
    )
    group.add_argument("--seed", type=int, metavar="N", help="of everything random")
    group.add_argument("--eval-every", type=positive, metavar="N", help="steps between two validations")
    group.add_argument("--checkpoint-every", type=positive, metavar="N", help="steps between two checkpoints")


def _drcap(parser: Parser) -> None:
    group = parser.add_argument_group("drcap (default: the preset's)")
    group.add_argument("--contexts", type=int, metavar="K", help="retrieved captions an example")
    group.add_argument("--band", type=float, nargs=2, metavar="C", help="cosines between which contexts are drawn")
    group.add_argument("--redraw", action=_BOTH, default=None, help="draw other contexts in every epoch")
    group.add_argument("--context-dropout", type=float, metavar="P", help="share of examples without contexts")
    group.add_argument("--noise-std-max", type=float, metavar="X", help="widest noise on a dimension of the embedding")


def _soft_hard(parser: Parser) -> None:
    group = parser.add_argument_group("soft-hard (default: the preset's)")
    group.add_argument(
        "--neighbours", type=positive, metavar="N", help="captions whose embeddings are lent, itself one"
    )
    group.add_argument("--mask", type=float, metavar="P", help="share of labels that are left out of hard prompts")
    group.add_argument("--noise-variance", type=float, metavar="X", help="of the noise on a dimension of the embedding")
    group.add_argument("--label-count", type=int, metavar="K", help="labels that a hard prompt names")
    group.add_argument("--nothing", metavar="TEXT", help="what it says without labels")
    group.add_argument("--hard", action=_BOTH, default=None, help="have a hard prompt")
    group.add_argument("--soft", action=_BOTH, default=None, help="have a soft prompt")
    group.add_argument("--soft-slots", type=positive, metavar="N", help="vectors of the soft prompt")
    group.add_argument("--max-answer-tokens", type=positive, metavar="N", help="captions are cut at so many tokens")
    group.add_argument("--bos", action=_BOTH, default=None, help="begin with the tokenizer's BOS (Llama, Mistral)")


def _prompt(parser: Parser) -> None:
    group = parser.add_argument_group("prompt and mapper (default: the preset's)")
    group.add_argument("--template", metavar="TEXT", help="drcap: holds {prompt}; soft-hard: holds {labels}")
    group.add_argument("--instruction", metavar="TEXT", help="drcap: the words of {prompt}")
    group.add_argument("--answer", metavar="TEXT", help="drcap: how the caption follows, as {answer}")
    group.add_argument(
        "--layout",
        choices=["captions_first", "captions_in_prompt", "no_captions"],
        help="drcap: where the retrieved captions stand",
    )
    group.add_argument("--audio-slots", type=positive, metavar="N", help="drcap: vectors that stand for the audio")
    group.add_argument("--mapper", choices=["relu", "mlp", "transformer"], help="what turns an embedding into vectors")
    group.add_argument("--mapper-hidden", type=positive, metavar="N", help="relu: width in between")
    group.add_argument("--mapper-layers", type=positive, metavar="N", help="transformer: layers")
    group.add_argument("--mapper-heads", type=positive, metavar="N", help="transformer: heads")


def _captioner(parser: Parser) -> None:
    group = parser.add_argument_group("the captioner's settings (default: the preset's)")
    group.add_argument("--projection", action=_BOTH, default=None, help="carry embeddings onto the text support")
    group.add_argument("--projection-temperature", type=_temperature, metavar="T", help="of it; clap is the CLAP's own")
    group.add_argument("--renormalise", action=_BOTH, default=None, help="scale the result to unit length")
    group.add_argument("--beams", type=positive, metavar="N", help="beams in decoding")
    group.add_argument("--max-new-tokens", type=positive, metavar="N", help="the longest caption in tokens")


def _temperature(text: str) -> float | str:
    if text == "clap":
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number or clap, got {text!r}") from None
