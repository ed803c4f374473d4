"""Options of `caption`."""

from __future__ import annotations

import argparse
from typing import Literal

from sonogloss.pipelines.options.shared import Parser, clap, device, make_command, max_dead_letters, output, positive


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
    parser.add_argument(
        "--datastore", metavar="DIR", help="made by build-datastore; not needed by captioners that look nothing up"
    )
    parser.add_argument(
        "--support", metavar="DIR", help="another datastore to project on (default: the same; see docs/methods.md)"
    )
    output(parser, "the results directory")
    parser.add_argument(
        "--captioner",
        default="pocket",
        metavar="C",
        help="pocket, pocket:soft-hard, pocket:zeraucap, or a directory (%(default)s)",
    )
    clap(parser, default=None)
    parser.add_argument(
        "--contexts", type=int, metavar="K", help="captions shown to the decoder (default: as it was trained)"
    )
    parser.add_argument(
        "--projection",
        action=argparse.BooleanOptionalAction,
        help="carry embeddings onto the text support (default: as the captioner says)",
    )
    parser.add_argument(
        "--temperature", type=_temperature, metavar="T", help="of the projection, or 'clap' for the CLAP's own"
    )
    parser.add_argument(
        "--renormalise", action=argparse.BooleanOptionalAction, help="scale projected embeddings to unit length"
    )
    parser.add_argument("--beams", type=positive, metavar="N", help="beams in decoding (default: the captioner's)")
    parser.add_argument(
        "--candidate-beams",
        type=_numbers,
        default=(),
        metavar="N-M",
        help="decode with each of these numbers of beams (2-8, or 2,4,8) and keep the caption nearest to the sound",
    )
    parser.add_argument(
        "--candidates",
        type=positive,
        metavar="N",
        help="keep the one of the N best captions of a search that is nearest to the sound, instead of the likeliest",
    )
    parser.add_argument(
        "--rerank",
        metavar="C",
        help="another CLAP that chooses among several captions (default: the job's own); without the two options above "
        "among as many as the captioner has beams, or 4 where it has one",
    )
    parser.add_argument("--language", metavar="TAG", help="what a captioner of several languages is to speak")
    parser.add_argument("--fast", action="store_true", help="leave the CLAP out of a guided search (zeraucap)")
    parser.add_argument(
        "--parity",
        action="store_true",
        help="contexts, projection, search and windows as in the method's released code; other options still count",
    )
    parser.add_argument(
        "--precision",
        choices=["float32", "bfloat16", "float16", "int8"],
        help="kind of the language model's weights (default: float32 on a processor, as stored elsewhere)",
    )
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
    parser.add_argument("--dry-run", action="store_true", help="check everything, caption one file, write nothing")
    parser.add_argument("--embedding", action="store_true", help="add each clip's CLAP embedding to its row")
    max_dead_letters(parser, "inputs that may fail")
    device(parser)


def _temperature(text: str) -> float | Literal["clap"]:
    if text == "clap":
        return "clap"
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number of at least 0, or 'clap', got {text!r}") from None


def _numbers(text: str) -> tuple[int, ...]:
    """`2-8` or `2,4,8`."""
    first, dash, last = text.partition("-")
    if dash:
        numbers = tuple(range(positive(first), positive(last) + 1))
        if not numbers:
            raise argparse.ArgumentTypeError(f"must be numbers like 2-8 or 2,4,8, got {text!r}")
        return numbers
    return tuple(sorted({positive(number) for number in text.split(",")}))
