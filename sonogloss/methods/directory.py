"""A captioner directory: load it by name, save a trained one, check it.

::

    captioner.json        what it is; written last
    mapper.safetensors    the soft prompt, unless there is none
    labels/               the names that a hard prompt chooses from, with their embeddings (soft-hard, zeraucap)
    language_model/       weights, configuration and tokenizer, unless the model is named by a hub id
    adapter/              a peft adapter, when one was trained
    README.md             the model card
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.resources import files as package_files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonogloss import files
from sonogloss.decoding.settings import DecodeSettings
from sonogloss.errors import MissingInputError, ModelFormatError, OptionError
from sonogloss.methods.base import Captioner, ClapReference, ProjectionSettings
from sonogloss.methods.labels import LabelBank, save_bank
from sonogloss.methods.manifest import (
    DRCAP,
    MAPPER,
    SOFT_HARD,
    ZERAUCAP,
    AnyDecode,
    AnyPrompt,
    LanguageModelReference,
    Manifest,
    method_of,
    read_manifest,
    verify_captioner,
    write_manifest,
)
from sonogloss.methods.released import CONTEXTS, DECODE, as_released
from sonogloss.methods.soft_hard.prompt import SoftHardPrompt
from sonogloss.methods.zeraucap.settings import GuidedSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from sonogloss.methods.mapper import AnyMapper

__all__ = ["load_captioner", "save_captioner", "verify_captioner"]

LANGUAGE_MODEL = "language_model"
ADAPTER = "adapter"
LABELS = "labels"
POCKET = {"pocket": DRCAP, "pocket:soft-hard": SOFT_HARD, "pocket:zeraucap": ZERAUCAP}
"""The captioners of this package: the names they have, and their folders among its weights."""


def load_captioner(
    name: str,
    *,
    device: str = "cpu",
    dtype: str | None = None,
    parity: bool = False,
    beams: int | None = None,
    language: str | None = None,
    fast: bool = False,
) -> Captioner:
    """Load a captioner by the name a user gave.

    Args:
        name: `pocket`, `pocket:soft-hard` or `pocket:zeraucap` (shipped with this package), or a captioner directory,
            local or any fsspec URL. Only a captioner whose language model is named by a hub id may use the network.
        device: where it runs, as torch names it (`cpu`, `cuda`).
        dtype: kind of the language model's weights, as :func:`~sonogloss.decoding.language_model.load_language_model`
            takes it.
        parity: contexts, projection and search as in the method's released code instead of the captioner's own.
        beams: how many beams to decode with, by default as many as the captioner says.
        language: the language it is to speak, one of those it learnt.
        fast: leave the CLAP's guidance out of the search: captions by keywords alone.

    Raises:
        OptionError: the name cannot be one of a captioner, or its method knows no such beams, language or guidance.
        MissingInputError: there is no such directory.
        ModelFormatError: a file is missing, damaged, or of another format.
    """
    with _local_directory(name) as directory:
        manifest = read_manifest(str(directory))
        if parity:
            manifest = as_released(manifest, directory)
        manifest = replace(manifest, decode=_search(manifest, name, beams=beams, fast=fast))
        if language is not None:
            manifest = replace(manifest, prompt=_speaking(language, manifest, name))
        # The methods bring torch and transformers: seconds.
        if manifest.method == SOFT_HARD:
            from sonogloss.methods.soft_hard.captioner import SoftHardCaptioner

            return SoftHardCaptioner.open(directory, manifest, device=device, dtype=dtype)
        if manifest.method == ZERAUCAP:
            from sonogloss.methods.zeraucap.captioner import ZerAuCapCaptioner

            return ZerAuCapCaptioner.open(directory, manifest, device=device, dtype=dtype)
        from sonogloss.methods.drcap.captioner import DrcapCaptioner

        return DrcapCaptioner.open(directory, manifest, device=device, dtype=dtype)


def _search(manifest: Manifest, name: str, *, beams: int | None, fast: bool) -> DecodeSettings | GuidedSettings:
    decode = manifest.decode
    if isinstance(decode, GuidedSettings):
        if beams is not None:
            raise OptionError(f"The captioner {name!r} searches without beams.", "Leave the number of beams out.")
        return replace(decode, beta=0.0) if fast else decode
    if fast:
        raise OptionError(
            f"The captioner {name!r} is not guided, so there is nothing to leave out.", "Leave out --fast."
        )
    return decode if beams is None else replace(decode, num_beams=beams)


def _speaking(language: str, manifest: Manifest, name: str) -> SoftHardPrompt:
    if not isinstance(manifest.prompt, SoftHardPrompt) or not manifest.prompt.languages:
        raise OptionError(f"The captioner {name!r} speaks one language only.", "Leave the language out.")
    return replace(manifest.prompt, language_tag=language)


def save_captioner(
    directory: str,
    *,
    clap: ClapReference,
    language_model: Any,
    tokenizer: PreTrainedTokenizerBase,
    mapper: AnyMapper | None,
    prompt: AnyPrompt,
    projection: ProjectionSettings | None,
    contexts: int | None = None,
    decode: AnyDecode | None = None,
    labels: LabelBank | None = None,
    training: Mapping[str, Any] | None = None,
    base: str | None = None,
    half: bool = False,
    model_card: str | None = None,
) -> None:
    """Write a trained captioner as a directory; the method is that of its prompt.

    Args:
        directory: where to, local or any fsspec URL.
        clap: the CLAP it learnt with.
        language_model: the trained PreTrainedModel, or a peft PeftModel around an untouched one.
        tokenizer: its tokenizer.
        mapper: the trained mapper; None for a prompt without audio slots.
        prompt: the layout it learnt, of DRCap or of soft and hard prompts, or ZerAuCap's words, which were not learnt.
        projection: how embeddings are projected before it captions; None takes them as they are.
        contexts: how many retrieved captions it learnt to read; by default as many as the released system of its
            method, 3 for DRCap and none for the others.
        decode: how it searches; by default as the released system of its method.
        labels: what a hard prompt names, or ZerAuCap's keywords.
        training: how it was trained, as JSON values (`TrainingRecord.as_json()`).
        base: where the language model's own weights are when training left them alone: a local directory (whose files
            are copied) or a hub id (which is named only). None writes the weights.
        half: store weights as float16; they are read back as float32 on a CPU.
        model_card: text of `README.md`; by default a short one.

    Raises:
        OptionError: an adapter without a base.
        OutputError: the directory cannot be written.
    """
    method = method_of(prompt)
    adapted = hasattr(language_model, "get_base_model")
    if adapted and base is None:
        raise OptionError("A language model with an adapter needs its base.", "Name the directory or hub id it is of.")
    reference = LanguageModelReference(
        path=None if base is not None and not Path(base).is_dir() else LANGUAGE_MODEL,
        name=base if base is not None and not Path(base).is_dir() else None,
        revision=getattr(language_model.config, "_commit_hash", None) if base is not None else None,
        adapter=ADAPTER if adapted else None,
    )
    with tempfile.TemporaryDirectory(prefix="captioner-") as temporary:
        staging = Path(temporary)
        _write_parts(staging, language_model, tokenizer, mapper, reference, base, half=half)
        if labels is not None:
            save_bank(labels, str(staging / LABELS))
        card = _model_card(method, clap, reference) if model_card is None else model_card
        (staging / "README.md").write_text(card, encoding="utf-8")
        names = sorted(path.relative_to(staging).as_posix() for path in staging.rglob("*") if path.is_file())
        for name in names:
            with (staging / name).open("rb") as source, files.atomic_write(files.join(directory, name)) as target:
                shutil.copyfileobj(source, target)
    manifest = Manifest(
        method=method,
        clap=clap,
        language_model=reference,
        prompt=prompt,
        labels=None if labels is None else LABELS,
        contexts=CONTEXTS[method] if contexts is None else contexts,
        projection=projection,
        decode=decode or DECODE[method],
        training=training or {},
        files=tuple(files.file_entry(directory, name) for name in names),
    )
    write_manifest(directory, manifest)


def _write_parts(
    staging: Path,
    language_model: Any,
    tokenizer: PreTrainedTokenizerBase,
    mapper: AnyMapper | None,
    reference: LanguageModelReference,
    base: str | None,
    *,
    half: bool,
) -> None:
    import copy

    import torch

    from sonogloss.decoding.language_model import without_progress_bar
    from sonogloss.methods.mapper import save_mapper

    if mapper is not None:
        save_mapper(mapper, str(staging / MAPPER), dtype=torch.float16 if half else torch.float32)
    if reference.adapter is not None:
        language_model.save_pretrained(staging / reference.adapter)
    if reference.path is None:
        return
    if base is not None:
        (staging / reference.path).mkdir()
        for path in sorted(Path(base).iterdir()):
            if path.suffix in (".json", ".safetensors", ".model", ".txt"):
                shutil.copyfile(path, staging / reference.path / path.name)
        return
    whole = copy.deepcopy(language_model).half() if half else language_model
    with without_progress_bar():
        whole.save_pretrained(staging / reference.path)
    tokenizer.save_pretrained(staging / reference.path)


_CARDS = {
    DRCAP: """# A DRCap captioner

It captions sound with a decoder that learnt from text alone: an audio embedding of CLAP `{clap}` is carried onto a text
support, mapped to a soft prompt and continued by a language model that also reads retrieved captions.
""",
    SOFT_HARD: """# A captioner of soft and hard prompts

It captions sound with a decoder that learnt from text alone: the sounds nearest to an audio embedding of CLAP `{clap}`
are named in a hard prompt, the embedding is mapped to a soft prompt behind it, and a language model continues both.
""",
    ZERAUCAP: """# A ZerAuCap captioner

It captions sound without having learnt it: the keywords nearest to an audio embedding of CLAP `{clap}` are named to a
language model, and the CLAP chooses among the words that the language model would say next.
""",
}


def _model_card(method: str, clap: ClapReference, reference: LanguageModelReference) -> str:
    model = reference.name or "in `language_model/`"
    adapter = ", with the adapter in `adapter/`" if reference.adapter else ""
    head = _CARDS[method].replace("{clap}", clap.name)
    return f"""{head}
* CLAP: `{clap.name}`, {clap.dim} dimensions, fingerprint `{clap.fingerprint}`
* language model: {model}{adapter}
* settings and training: `captioner.json`
"""


@contextmanager
def _local_directory(name: str) -> Iterator[Path]:
    """The directory on this machine behind a name, for as long as loading takes."""
    if name in POCKET:
        directory = Path(str(package_files("sonogloss"))) / "pocket" / "weights" / POCKET[name]
        if not directory.is_dir():
            raise MissingInputError(
                f"This installation does not hold the weights of the captioner {name!r}.",
                "Install the package from its wheel, or train them with the recipe in recipes/pocket.",
            )
        yield directory
    elif name.startswith("pocket:"):
        raise OptionError(
            f"The captioner {name!r} is not in this release.", f"Name {', '.join(POCKET)} or a captioner directory."
        )
    elif "://" in name:
        manifest = read_manifest(name)
        with tempfile.TemporaryDirectory(prefix="captioner-") as temporary:
            for part in ["captioner.json", *(entry["path"] for entry in manifest.files)]:
                target = Path(temporary) / part
                if not target.resolve().is_relative_to(Path(temporary).resolve()):
                    raise ModelFormatError(f"The captioner {name!r} lists a file outside itself.", "Do not use it.")
                target.parent.mkdir(parents=True, exist_ok=True)
                with files.open_read(files.join(name, part)) as source, target.open("wb") as copy:
                    shutil.copyfileobj(source, copy)
            yield Path(temporary)
    elif Path(name).is_dir():
        yield Path(name)
    else:
        raise OptionError(
            f"The captioner {name!r} is not a directory.", f"Name {', '.join(POCKET)} or a captioner directory."
        )
