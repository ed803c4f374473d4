"""`sonogloss`: one console script, one sub-command a job."""

from __future__ import annotations

import gc
import importlib
import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from sonogloss import __version__
from sonogloss.errors import SonoglossError, unknown
from sonogloss.pipelines.config.fields import Configuration, settings_of
from sonogloss.pipelines.config.parser import Parser, add_options, usage, with_leading_values, without_old_spellings
from sonogloss.pipelines.running.failures import DONE, IMPOSSIBLE, UNSOUND, failure_of
from sonogloss.pipelines.running.run_log import log_report, run_log
from sonogloss.pipelines.running.signals import end_on_signals
from sonogloss.pipelines.running.terminal import say
from sonogloss.pipelines.running.worker_main import COLLECT_EVERY


@dataclass(frozen=True, kw_only=True)
class Job:
    """A sub-command: its configuration and its function, as `module:name` below `sonogloss.pipelines`.

    Both are imported when the command is chosen: jobs bring torch and Beam, seconds that `--help` does not have.
    """

    config: str
    function: str
    summary: str
    example: str

    def load_config(self) -> type[Configuration]:
        """The class of the configuration."""
        config: type[Configuration] = _load(f"config.{self.config}")
        return config


JOBS = {
    "demo": Job(
        config="evaluation:DemoConfig",
        function="run_demo:demo",
        summary="datastore, audio, captions and metrics with the embedded models",
        example="sonogloss demo",
    ),
    "build-datastore": Job(
        config="datastores:BuildDatastoreConfig",
        function="build_datastore:build_datastore",
        summary="turn caption dumps into a datastore with its text support",
        example="sonogloss build-datastore --captions 'dumps/*.jsonl.gz' --text-column caption --output store",
    ),
    "compact": Job(
        config="datastores:CompactConfig",
        function="compact_datastore:compact",
        summary="write a datastore again in few shards, without some sources",
        example="sonogloss compact store --remove-source bbc",
    ),
    "search": Job(
        config="datastores:SearchConfig",
        function="search_datastore:search",
        summary="find the captions of a datastore nearest to a text or a recording",
        example="sonogloss search store --text 'a dog barks'",
    ),
    "caption": Job(
        config="captioning:CaptionConfig",
        function="caption_audio:caption",
        summary="caption audio files",
        example="sonogloss caption --audio 'recordings/**/*.wav' --datastore store --output results",
    ),
    "classify": Job(
        config="captioning:ClassifyConfig",
        function="classify_audio:classify",
        summary="tag audio files with labels of yours, zero-shot",
        example="sonogloss classify --audio 'recordings/**/*.wav' --labels labels.txt --output tags",
    ),
    "evaluate": Job(
        config="evaluation:EvaluateConfig",
        function="evaluate_captions:evaluate",
        summary="compare captions with references, or tags with true labels",
        example="sonogloss evaluate --results results --references references.jsonl --output metrics",
    ),
    "compare": Job(
        config="evaluation:CompareConfig",
        function="compare_runs:compare_runs",
        summary="compare runs over the same clips, with intervals and a test",
        example="sonogloss compare results other-results --references references.jsonl",
    ),
    "report": Job(
        config="evaluation:ReportConfig",
        function="report_page:report",
        summary="write one HTML page to look at results and listen to them",
        example="sonogloss report results --references references.jsonl --output results.html",
    ),
    "convert-clap": Job(
        config="datastores:ConvertClapConfig",
        function="convert_clap:convert_clap",
        summary="turn a published CLAP checkpoint into a directory of safetensors, without unpickling anything",
        example="sonogloss convert-clap 630k-audioset-best.pt --tokenizer roberta-base --output clap",
    ),
    "make-captioner": Job(
        config="training:MakeCaptionerConfig",
        function="make_captioner:make_captioner",
        summary="put a captioner together from a CLAP, a language model and keywords, without training (ZerAuCap)",
        example="sonogloss make-captioner --labels keywords.txt --language-model hf:OWNER/NAME --output captioner",
    ),
    "train-captioner": Job(
        config="training:TrainCaptionerConfig",
        function="train_captioner:train_captioner",
        summary="train a captioner from captions alone",
        example="sonogloss train-captioner --method drcap --captions 'dumps/*.jsonl.gz' --output captioner",
    ),
    "tune-labels": Job(
        config="temporal:TuneLabelsConfig",
        function="tune_labels:tune_labels",
        summary="learn label prompts for classify from text alone",
        example="sonogloss tune-labels --labels labels.txt --texts 'captions/*.jsonl' --output prompts",
    ),
    "post-train-clap": Job(
        config="temporal:PostTrainClapConfig",
        function="post_train_clap:post_train_clap",
        summary="teach a CLAP the order of sounds, from pairs of labelled clips (TeminAL)",
        example="sonogloss post-train-clap --clips clips --output clap",
    ),
    "zste": Job(
        config="temporal:ZsteConfig",
        function="evaluate_order:zste",
        summary="measure what a CLAP knows of the order of sounds",
        example="sonogloss zste --clap pocket --clips clips --output zste",
    ),
    "verify": Job(
        config="datastores:VerifyConfig",
        function="verify_directory:verify",
        summary="recompute every digest and count of a datastore, captioner or results directory",
        example="sonogloss verify results",
    ),
    "inspect": Job(
        config="datastores:InspectConfig",
        function="inspect_directory:inspect",
        summary="say what a directory is, what made it, and from what",
        example="sonogloss inspect store",
    ),
}

_EPILOG = """\
Options that a command does not know go to Apache Beam: --runner, --project, --region, --temp_location ... By default
a job runs in this process; --workers N uses N processes.

exit codes: 0 done; 1 finished, but the counts do not add up or too many inputs failed; 2 bad arguments or inputs;
130 interrupted, 143 terminated (what is committed stays valid)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments after the program's name; those of the process when left out.

    Returns:
        0 done; 1 finished, but the result is not sound; 2 bad arguments or inputs; 130 interrupted; 143
        terminated.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        if argv is not None:
            return _run(words)
        end_on_signals()
        gc.set_threshold(COLLECT_EVERY)
        code = _run(words)
        gc.freeze()  # a process that ends looks at each object again, which takes a second after torch
        return code
    except BrokenPipeError:  # `sonogloss ... | head`: the reader has closed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except (SonoglossError, KeyboardInterrupt) as error:
        code = _tell(error, words)
        if argv is None:
            # A thread may be in the middle of a model, and threads of libraries may wait for ever for what has died, or
            # abort the process when the interpreter goes away under them.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        return code
    except Exception as error:
        if "--json" in words:
            _print_json(failure_of(error).as_json())
        raise


def _tell(error: BaseException, words: Sequence[str]) -> int:
    """Say why a command ended; the exit code."""
    failure = failure_of(error, option_names(words[0]) if words and words[0] in JOBS else ())
    say(str(failure))
    if "--json" in words:
        _print_json(failure.as_json())
    return failure.exit_code


def _print_json(content: Any) -> None:
    text = json.dumps(content, ensure_ascii=False, indent=2)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # a name that is not UTF-8, or a terminal that is not
        text = json.dumps(content, indent=2)
    print(text)


def _run(argv: Sequence[str]) -> int:
    name = next((argument for argument in argv if not argument.startswith("-")), None)
    if name is None or argv[0] != name:
        return _general(argv)
    if name not in JOBS:
        raise unknown("command", name, JOBS)
    job = JOBS[name]
    config = job.load_config()
    parser = command_parser(name)
    try:
        known, others = parser.parse_known_args(with_leading_values(without_old_spellings(argv[1:], config), config))
    except SystemExit as done:  # --help
        return int(done.code or 0)
    values = vars(known)
    how = {option: values.pop(option) for option in ("json", "verbose", "log_file", "log_format")}
    _silence_beam_unless(how["verbose"])
    with run_log(how["log_file"], how["log_format"], name, {**values, **({"beam": others} if others else {})}):
        if others or "workers" in values:  # importing Beam takes seconds
            from sonogloss.pipelines.running.beam_options import beam_options

            beam_options(others, option_names(name), workers=values.get("workers"))
        if takes_beam_options(config):
            values["beam_args"] = tuple(others)
        report = _load(job.function)(config(**values))
        log_report(report)
    if how["json"]:
        _print_json(report)
    else:
        importlib.import_module(f"sonogloss.pipelines.{job.function.partition(':')[0]}").show(report)
    for problem in report["problems"]:
        say(problem)
    return UNSOUND if report["problems"] else DONE


def _general(argv: Sequence[str]) -> int:
    """`--help`, `--version`, and nothing at all."""
    parser = Parser(prog="sonogloss", description="Caption audio collections, zero-shot, at scale.", epilog=_EPILOG)
    parser.add_argument("--version", action="version", version=f"sonogloss {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", parser_class=Parser)
    for name, job in JOBS.items():
        commands.add_parser(name, help=job.summary)
    try:
        parser.parse_args(argv)
    except SystemExit as done:
        return int(done.code or 0)
    parser.print_help()
    return IMPOSSIBLE


def command_parser(name: str) -> Parser:
    """The parser of one command."""
    job = JOBS[name]
    config = job.load_config()
    summary = job.summary[:1].upper() + job.summary[1:] + "."
    parser = Parser(
        prog=f"sonogloss {name}",
        usage=usage(name, config),
        description=summary,
        epilog=f"example:\n  {job.example}",
    )
    add_options(parser, config)
    parser.add_argument("--json", action="store_true", help="print a machine-readable result on standard output")
    parser.add_argument("--verbose", action="store_true", help="show Beam's log")
    parser.add_argument("--log-file", metavar="FILE", help="add the log of the run to this file (default: no log)")
    parser.add_argument(
        "--log-format", choices=["text", "json"], default="text", help="lines of the log (default: text)"
    )
    return parser


def takes_beam_options(config: type[Configuration]) -> bool:
    """Does this command run on Beam?"""
    return any(field.name == "beam_args" for field in fields(config))  # type: ignore[arg-type]  # a dataclass


def option_names(name: str) -> list[str]:
    """The options of a command, for hints."""
    settings = [setting for setting in settings_of(JOBS[name].load_config()) if not setting.option.positional]
    switches = [f"--no-{setting.flag[2:]}" for setting in settings if setting.switch]
    return [setting.flag for setting in settings] + switches + ["--json", "--verbose", "--log-file", "--log-format"]


def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(f"sonogloss.pipelines.{module}"), name)


def _silence_beam_unless(verbose: bool) -> None:
    """Silence Beam's logging unless --verbose."""
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    if not verbose:  # what ends a job is raised as well, and printed once
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # every try of a hub that cannot be reached, twice


if __name__ == "__main__":
    sys.exit(main())
