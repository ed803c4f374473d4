"""make-captioner: a captioner of models as they come, without training: CLAP, language model and a vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from sonogloss import files
from sonogloss.clap import load_clap
from sonogloss.decoding.language_model import load_language_model
from sonogloss.errors import OptionError, OutputError
from sonogloss.methods import ClapIdentity, load_captioner, save_captioner
from sonogloss.methods.labels import embed_labels, read_labels
from sonogloss.methods.zeraucap.captioner import ZerAuCapCaptioner
from sonogloss.methods.zeraucap.prompt import KeywordPrompt, split_keywords
from sonogloss.methods.zeraucap.settings import GuidedSettings
from sonogloss.pipelines.running.inputs import as_list, choose_device

MANIFEST = "captioner.json"  # written last: without it a directory holds no captioner
METHODS = ("zeraucap",)


def make_captioner(
    *,
    language_model: str,
    labels: str | Sequence[str],
    output: str,
    method: str = "zeraucap",
    clap: str = "pocket",
    keywords: int = KeywordPrompt.keywords,
    objects: str = KeywordPrompt.objects,
    lead: str = KeywordPrompt.lead,
    candidates: int = GuidedSettings.candidates,
    alpha: float = GuidedSettings.alpha,
    beta: float = GuidedSettings.beta,
    kappa: float = GuidedSettings.kappa,
    gamma: float = GuidedSettings.gamma,
    max_tokens: int = GuidedSettings.max_tokens,
    compat: bool = False,
    overwrite: bool = False,
    device: str = "auto",
) -> dict[str, Any]:
    """Put a captioner together.

    Args:
        language_model: a directory, whose files are copied, or a hub id, which is named only.
        labels: the vocabulary of keywords, files or `pocket`; labels are split at commas.
        output: the captioner's directory.
        method: `zeraucap`.
        clap: `pocket`, a directory or a hub id.
        keywords: how many a prompt names.
        objects: the sentence that names them, with `{keywords}`.
        lead: the words that a caption continues.
        candidates: next tokens that compete.
        alpha: weight of the repetition penalty.
        beta: weight of the CLAP's guidance.
        kappa: sharpness of the guidance.
        gamma: of the penalty on ending early.
        max_tokens: of prompt and caption together.
        compat: the end penalty as the released code applies it.
        overwrite: replace a captioner that is there already.
        device: `cpu`, `cuda`, `auto`; for the labels' embedding.

    Returns:
        The report: `output`, `method`, `clap`, `language_model`, `keywords` (how many there are to choose from),
        `fingerprint`, `problems`.

    Raises:
        InputError: an option or an input makes the job impossible.
    """
    if method not in METHODS:
        raise OptionError(f"--method {method!r} needs training or is unknown.", f"Choose one of {', '.join(METHODS)}.")
    manifest = files.join(output, MANIFEST)
    if files.exists(manifest) and not overwrite:
        raise OutputError(
            f"--output {output!r} holds a captioner already.", "Name another directory, or replace it with --overwrite."
        )
    prompt = KeywordPrompt(keywords=keywords, objects=objects, lead=lead)
    decode = GuidedSettings(
        candidates=candidates, alpha=alpha, beta=beta, kappa=kappa, gamma=gamma, max_tokens=max_tokens, compat=compat
    )
    words = split_keywords(label for name in as_list(labels) for label in read_labels(name))
    encoder = load_clap(clap, device=choose_device(device))
    loaded = load_language_model(language_model)
    reference = ClapIdentity(name=clap, fingerprint=encoder.fingerprint, dim=encoder.dim)
    bank = embed_labels(words, encoder, normalise=False)
    # Do the parts go together? Better said now than when it is to caption.
    ZerAuCapCaptioner(language_model=loaded, prompt=prompt, labels=bank, clap=reference, decode=decode, fingerprint="")
    files.check_writable(output)
    if files.exists(manifest):
        files.remove(manifest)
    save_captioner(
        output,
        clap=reference,
        language_model=loaded.model,
        tokenizer=loaded.tokenizer,
        mapper=None,
        prompt=prompt,
        projection=None,
        decode=decode,
        labels=bank,
        training={"labels": [files.base_name(name) for name in as_list(labels)]},
        base=language_model,
    )
    return {
        "output": output,
        "method": method,
        "clap": clap,
        "language_model": language_model,
        "keywords": len(words),
        "fingerprint": load_captioner(output).fingerprint,
        "problems": [],
    }


def show(report: dict[str, Any]) -> None:
    """Print the report for a person."""
    Console().print(
        f"{report['output']}: {report['method']}, {report['keywords']:,} keywords for {report['clap']} and "
        f"{report['language_model']}\nfingerprint {report['fingerprint']}",
        markup=False,
    )
