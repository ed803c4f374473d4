"""make-captioner: a captioner of models as they come, without training: CLAP, language model and a vocabulary."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

from sonogloss import files
from sonogloss.clap import load_clap
from sonogloss.clap.device import choose_device
from sonogloss.decoding.language_model import LanguageModel, language_model_directory, load_language_model
from sonogloss.errors import FormatError, OutputError
from sonogloss.methods import ClapIdentity, NewCaptioner, save_captioner
from sonogloss.methods.labels import read_labels
from sonogloss.methods.manifest import NAME, read_manifest
from sonogloss.methods.registry import Method, get_method, load_object
from sonogloss.pipelines.config.fields import AnyPath
from sonogloss.pipelines.config.method_options import with_given
from sonogloss.pipelines.config.parser import command
from sonogloss.pipelines.config.training import MakeCaptionerConfig, MakeCaptionerOptions
from sonogloss.pipelines.running.inputs import as_list, check_output
from sonogloss.pipelines.running.terminal import plain_console
from sonogloss.tables import read_names


@command(MakeCaptionerConfig)
def make_captioner(config: MakeCaptionerOptions) -> dict[str, Any]:
    """Put a captioner together from models as they come.

    The files of a language model that is a directory, or those made from a GGUF file, are copied; a hub id is named
    only.

    Returns:
        The report: `output`, `method`, `clap`, `language_model`, `keywords` (how many there are to choose from),
        `fingerprint`, `problems`.

    Raises:
        InputError: an option or an input makes the job impossible.
    """
    output = str(config.output)
    check_output(output)
    if files.exists(files.join(output, NAME)) and not config.overwrite:
        raise OutputError(
            f"--output {output!r} holds a captioner already.", "Name another directory, or replace it with --overwrite."
        )
    method = get_method(config.method)
    base = language_model_directory(str(config.language_model))
    language_model = load_language_model(base)
    parts = _make_parts(config, method, language_model)
    # Parts that do not fit together are found now, not when they caption.
    method.captioner_class()(language_model=language_model, fingerprint="", **parts)
    files.check_writable(output)
    if files.exists(files.join(output, NAME)):
        files.remove(files.join(output, NAME))
    save_captioner(
        output,
        NewCaptioner(
            language_model=language_model.model,
            tokenizer=language_model.tokenizer,
            mapper=None,
            projection=None,
            training={"labels": [files.base_name(name) for name in as_list(config.labels)]},
            base=base,
            **parts,
        ),
    )
    return {
        "output": output,
        "method": config.method,
        "clap": config.clap,
        "language_model": config.language_model,
        "keywords": 0 if parts["labels"] is None else len(parts["labels"].labels),
        "fingerprint": read_manifest(output).fingerprint,
        "problems": [],
    }


def _make_parts(config: MakeCaptionerOptions, method: Method, language_model: LanguageModel) -> dict[str, Any]:
    """What a captioner has beside its language model."""
    given = config.given()
    prompt = method.prompt()
    prompt = replace(prompt, **with_given(prompt, given))
    decode = replace(method.decode, **with_given(method.decode, given))
    labels = [label for name in as_list(config.labels) for label in read_labels(name)]
    clap = load_clap(str(config.clap), device=choose_device(config.device))
    bank = None if method.embed_labels is None else method.embed_labels(labels, clap)
    if method.suit is not None:
        prompt, decode = load_object(method.suit)(
            prompt,
            decode,
            tokenizer=language_model.tokenizer,
            labels=bank,
            clap=clap,
            chat=config.chat,
            examples=read_examples(config.examples),
            positions=language_model.max_positions,
            given=given,
        )
    identity = ClapIdentity(name=str(config.clap), fingerprint=clap.fingerprint, dim=clap.dim)
    return {"prompt": prompt, "labels": bank, "clap": identity, "decode": decode}


def read_examples(path: AnyPath | None) -> list[str] | None:
    """The captions of `--examples`: one a line, or a csv or json with captions; None for the method's own.

    Raises:
        InputError: there is no such file, or it holds no captions.
    """
    if path is None or str(path) == "none":
        return None if path is None else []
    captions = [
        " ".join(text.split()) for text in read_names(str(path), option="--examples", columns=("caption", "text"))
    ]
    found = [text for text in captions if text]
    if not found:
        raise FormatError(f"--examples {str(path)!r} holds no captions.", "Write one caption a line.")
    return found


def show(report: dict[str, Any]) -> None:
    """Print the report for a person."""
    console = plain_console()
    console.print(
        f"{report['output']}: {report['method']}, {report['keywords']:,} keywords for {report['clap']} and "
        f"{report['language_model']}",
    )
    console.print(f"fingerprint {report['fingerprint']}")
    console.print(f"Next: sonogloss caption RECORDINGS --captioner {shlex.quote(report['output'])}", soft_wrap=True)
