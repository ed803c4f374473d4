"""`sonogloss`: one console script, one sub-command a job."""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
from collections.abc import Sequence

from sonogloss.errors import InputError
from sonogloss.pipelines.options import make_parser, option_names

# Module and function of each command. A module is imported when its command is chosen: it brings torch and Beam.
JOBS = {
    "demo": ("sonogloss.pipelines.run_demo", "demo"),
    "build-datastore": ("sonogloss.pipelines.build_datastore", "build_datastore"),
    "search": ("sonogloss.pipelines.search_datastore", "search"),
    "caption": ("sonogloss.pipelines.caption_audio", "caption"),
    "classify": ("sonogloss.pipelines.classify_audio", "classify"),
    "evaluate": ("sonogloss.pipelines.evaluate_captions", "evaluate"),
    "convert-clap": ("sonogloss.pipelines.convert_clap", "convert_clap"),
    "make-captioner": ("sonogloss.pipelines.make_captioner", "make_captioner"),
    "train-captioner": ("sonogloss.pipelines.train_captioner", "train_captioner"),
    "tune-labels": ("sonogloss.pipelines.tune_labels", "tune_labels"),
    "post-train-clap": ("sonogloss.pipelines.post_train_clap", "post_train_clap"),
    "zste": ("sonogloss.pipelines.evaluate_order", "zste"),
    "verify": ("sonogloss.pipelines.verify_directory", "verify"),
    "inspect": ("sonogloss.pipelines.inspect_directory", "inspect"),
}
# Commands that run on Beam, and so take its options.
BEAM_JOBS = frozenset({"demo", "build-datastore", "caption", "classify", "train-captioner", "post-train-clap", "zste"})
DONE, UNSOUND, IMPOSSIBLE, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments after the program's name; those of the process when left out.

    Returns:
        0 done; 1 finished, but the result is not sound; 2 bad arguments or inputs; 130 interrupted.
    """
    try:
        return _run(sys.argv[1:] if argv is None else argv)
    except InputError as error:
        print(f"sonogloss: error: {' '.join(str(error).split())}", file=sys.stderr)
        return IMPOSSIBLE
    except BrokenPipeError:  # `sonogloss ... | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        print(
            "sonogloss: interrupted; what is committed stays valid, the same command goes on from there",
            file=sys.stderr,
        )
        if argv is None:  # the job's thread is in the middle of a model: do not wait for it
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        return INTERRUPTED


def _run(argv: Sequence[str]) -> int:
    parser = make_parser()
    try:
        known, others = parser.parse_known_args(argv)
    except SystemExit as done:  # --help and --version
        return int(done.code or 0)
    arguments = vars(known)
    command, as_json, verbose = arguments.pop("command"), arguments.pop("json", False), arguments.pop("verbose", False)
    if command is None:
        parser.print_help()
        return IMPOSSIBLE
    _quieten(verbose)
    module_name, function_name = JOBS[command]
    if others or command in BEAM_JOBS:
        from sonogloss.pipelines.beam_options import beam_options

        beam_options(others, option_names(command))
    module = importlib.import_module(module_name)
    if command in BEAM_JOBS:
        arguments["beam_args"] = others
    report = getattr(module, function_name)(**arguments)
    if as_json:
        print(json.dumps(report, ensure_ascii=False, indent=2))
    else:
        module.show(report)
    for problem in report["problems"]:
        print(f"sonogloss: {problem}", file=sys.stderr)
    return UNSOUND if report["problems"] else DONE


def _quieten(verbose: bool) -> None:
    """Beam tells of its inner life from its import on; who did not ask for that is told what is wrong, and no more."""
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    if not verbose:  # what ends a job is raised as well, and told once
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


if __name__ == "__main__":
    sys.exit(main())
