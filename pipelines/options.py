"""The command line's options, shared pieces first. Nothing heavy is imported here: `--help` must answer at once."""

from __future__ import annotations

import argparse
from typing import NoReturn

from sonogloss import __version__
from sonogloss.errors import OptionError


class Parser(argparse.ArgumentParser):
    """argparse, except that options are never abbreviated and mistakes become our one-line errors."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and ending the process."""
        raise OptionError(message[:1].upper() + message[1:] + ".", f"See `{self.prog} --help`.")


_EPILOG = """\
Options that a command does not know go to Apache Beam: --runner, --direct_num_workers, --direct_running_mode,
--project, --region, --temp_location ... The default runner works in this process.

exit codes: 0 done; 1 finished, but inputs are missing from the accounts or too many failed; 2 bad arguments or inputs;
130 interrupted (what is committed stays valid)."""


def make_parser() -> Parser:
    """The parser of the whole command line."""
    parser = Parser(prog="sonogloss", description="Caption audio collections, zero-shot, at scale.", epilog=_EPILOG)
    parser.add_argument("--version", action="version", version=f"sonogloss {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for add in (_demo, _build_datastore, _search, _caption, _evaluate, _verify, _inspect):
        add(commands)
    return parser


def option_names(command: str) -> list[str]:
    """The long options of a command, for hints."""
    sub = next(a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction)).choices[command]
    return [name for action in sub._actions for name in action.option_strings if name.startswith("--")]


def _command(commands: argparse._SubParsersAction[Parser], name: str, summary: str, example: str) -> Parser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[:1].upper() + summary[1:] + ("" if summary.endswith("?") else "."),
        epilog=f"example:\n  {example}",
    )
    parser.add_argument("--json", action="store_true", help="print a machine-readable result on standard output")
    parser.add_argument("--verbose", action="store_true", help="show the engine's own log")
    return parser


def _demo(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = _command(
        commands, "demo", "the whole walk on the embedded models: datastore, audio, captions, metrics", "sonogloss demo"
    )
    parser.add_argument("--output", default="demo-output", metavar="DIR", help="where everything is left (%(default)s)")


def _build_datastore(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = _command(
        commands,
        "build-datastore",
        "turn text dumps into a datastore of captions with their support",
        "sonogloss build-datastore --captions 'dumps/*.jsonl.gz' --text-column caption --output store",
    )
    parser.add_argument(
        "--captions",
        nargs="+",
        action="extend",
        required=True,
        metavar="GLOB",
        help="txt, jsonl, csv, tsv or parquet, also .gz or .zst",
    )
    _output(parser, "the datastore's directory")
    _clap(parser, default="pocket")
    parser.add_argument("--text-column", default="text", metavar="NAME", help="column with the captions (%(default)s)")
    parser.add_argument("--index", choices=["auto", "flat"], default="auto", help="kind of index (%(default)s)")
    parser.add_argument(
        "--shards", type=_positive, metavar="N", help="number of shards (default: one per million captions)"
    )
    parser.add_argument("--source", metavar="NAME", help="what the captions are credited to (default: the file's name)")
    parser.add_argument("--license", metavar="TEXT", help="licence of the captions, kept in the manifest")
    parser.add_argument("--overwrite", action="store_true", help="replace a datastore that is there already")
    _max_dead_letters(parser, "lines that may be unreadable")
    _device(parser)


def _search(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = _command(
        commands,
        "search",
        "what does a datastore hold near this text or sound?",
        "sonogloss search store --text 'a dog barks'",
    )
    parser.add_argument("datastore", metavar="DATASTORE")
    query = parser.add_mutually_exclusive_group(required=True)
    query.add_argument("--text", metavar="T", help="a sentence")
    query.add_argument("--audio", metavar="FILE", help="a recording; every window is looked up")
    parser.add_argument("-k", type=_positive, default=5, metavar="K", help="captions a query (%(default)s)")
    _clap(parser, default=None)
    _device(parser)


def _caption(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = _command(
        commands,
        "caption",
        "caption audio files",
        "sonogloss caption --audio 'recordings/**/*.wav' --datastore store --output results",
    )
    parser.add_argument(
        "--audio", nargs="+", action="extend", required=True, metavar="GLOB", help="files, folders or quoted globs"
    )
    parser.add_argument("--datastore", required=True, metavar="DIR", help="made by build-datastore")
    _output(parser, "the results directory")
    parser.add_argument("--captioner", default="pocket", metavar="C", help="pocket, or a directory (%(default)s)")
    _clap(parser, default=None)
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
    parser.add_argument("--beams", type=_positive, metavar="N", help="beams in decoding (default: the captioner's)")
    _max_dead_letters(parser, "inputs that may fail")
    _device(parser)


def _evaluate(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = _command(
        commands,
        "evaluate",
        "compare captions with references",
        "sonogloss evaluate --results results --references references.jsonl --output metrics",
    )
    parser.add_argument(
        "--results", required=True, metavar="PATH", help="a results directory, or jsonl, csv or parquet"
    )
    parser.add_argument("--references", required=True, metavar="FILE", help="jsonl, csv or parquet with a key column")
    _output(parser, "where metrics/corpus.parquet and metrics/clips.parquet go")
    parser.add_argument("--metrics", metavar="LIST", help="names, separated by commas (default: all that can be had)")
    parser.add_argument("--tokenizer", choices=["simple", "ptb", "whitespace"], default="simple", help="(%(default)s)")


def _verify(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = _command(
        commands,
        "verify",
        "recompute every digest and count of a datastore, captioner or results directory",
        "sonogloss verify results",
    )
    parser.add_argument("directory", metavar="DIR")


def _inspect(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = _command(
        commands,
        "inspect",
        "what is this directory, what made it, how many, from where?",
        "sonogloss inspect store",
    )
    parser.add_argument("directory", metavar="DIR")


def _output(parser: Parser, what: str) -> None:
    parser.add_argument("--output", required=True, metavar="DIR", help=what)


def _clap(parser: Parser, *, default: str | None) -> None:
    what = "%(default)s" if default else "the one the others were made with"
    parser.add_argument("--clap", default=default, metavar="C", help=f"pocket, a directory or a hub id ({what})")


def _device(parser: Parser) -> None:
    parser.add_argument("--device", default="auto", metavar="D", help="cpu, cuda, or auto (%(default)s)")


def _max_dead_letters(parser: Parser, what: str) -> None:
    parser.add_argument(
        "--max-dead-letters", type=float, default=0.05, metavar="SHARE", help=f"share of {what} (%(default)s)"
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)
