"""A captioner directory: load it by name, save a trained one, check it.

::

    captioner.json        what it is; written last
    mapper.safetensors    the soft prompt
    language_model/       weights, configuration and tokenizer, unless the model is named by a hub id
    adapter/              a peft adapter, when one was trained
    README.md             the model card
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files as package_files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonogloss import files
from sonogloss.captioners.base import Captioner, ClapReference, ProjectionSettings
from sonogloss.captioners.manifest import (
    MAPPER,
    LanguageModelReference,
    Manifest,
    read_manifest,
    verify_captioner,
    write_manifest,
)
from sonogloss.decoding.settings import DecodeSettings
from sonogloss.errors import MissingInputError, ModelFormatError, OptionError
from sonogloss.prompts.composed import ComposedPrompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from sonogloss.prompts.soft import AnyMapper

__all__ = ["load_captioner", "save_captioner", "verify_captioner"]

LANGUAGE_MODEL = "language_model"
ADAPTER = "adapter"


def load_captioner(name: str, *, device: str = "cpu", beams: int | None = None) -> Captioner:
    """Load a captioner by the name a user gave.

    Args:
        name: `pocket` (shipped with this package) or a captioner directory, local or any fsspec URL. Only a captioner
            whose language model is named by a hub id may use the network.
        device: where it runs, as torch names it (`cpu`, `cuda`).
        beams: how many beams to decode with, by default as many as the captioner says.

    Raises:
        OptionError: the name cannot be one of a captioner.
        MissingInputError: there is no such directory.
        ModelFormatError: a file is missing, damaged, or of another format.
    """
    with _local_directory(name) as directory:
        manifest = read_manifest(str(directory))
        if manifest.method != "drcap":
            raise ModelFormatError(
                f"The captioner {name!r} is of the method {manifest.method!r}, which this release does not know.",
                "Use the release that trained it.",
            )
        from sonogloss.captioners.drcap import DrcapCaptioner  # brings torch and transformers: seconds

        return DrcapCaptioner.open(directory, manifest, device=device, beams=beams)


def save_captioner(
    directory: str,
    *,
    clap: ClapReference,
    language_model: Any,
    tokenizer: PreTrainedTokenizerBase,
    mapper: AnyMapper,
    prompt: ComposedPrompt,
    projection: ProjectionSettings,
    contexts: int = 3,
    decode: DecodeSettings | None = None,
    training: Mapping[str, Any] | None = None,
    base: str | None = None,
    half: bool = False,
    model_card: str | None = None,
) -> None:
    """Write a trained DRCap captioner as a directory.

    Args:
        directory: where to, local or any fsspec URL.
        clap: the CLAP it learnt with.
        language_model: the trained PreTrainedModel, or a peft PeftModel around an untouched one.
        tokenizer: its tokenizer.
        mapper: the trained mapper.
        prompt: the layout it learnt.
        projection: how embeddings are projected before it captions.
        contexts: how many retrieved captions it learnt to read.
        decode: how it searches; by default as DRCap does.
        training: how it was trained, as JSON values (`TrainingRecord.as_json()`).
        base: where the language model's own weights are when training left them alone: a local directory (whose files
            are copied) or a hub id (which is named only). None writes the weights.
        half: store weights as float16; they are read back as float32 on a CPU.
        model_card: text of `README.md`; by default a short one.

    Raises:
        OptionError: an adapter without a base.
        OutputError: the directory cannot be written.
    """
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
        card = _model_card(clap, reference) if model_card is None else model_card
        (staging / "README.md").write_text(card, encoding="utf-8")
        names = sorted(path.relative_to(staging).as_posix() for path in staging.rglob("*") if path.is_file())
        for name in names:
            with (staging / name).open("rb") as source, files.atomic_write(files.join(directory, name)) as target:
                shutil.copyfileobj(source, target)
    manifest = Manifest(
        method="drcap",
        clap=clap,
        language_model=reference,
        prompt=prompt,
        contexts=contexts,
        projection=projection,
        decode=decode or DecodeSettings(),
        training=training or {},
        files=tuple(files.file_entry(directory, name) for name in names),
    )
    write_manifest(directory, manifest)


def _write_parts(
    staging: Path,
    language_model: Any,
    tokenizer: PreTrainedTokenizerBase,
    mapper: AnyMapper,
    reference: LanguageModelReference,
    base: str | None,
    *,
    half: bool,
) -> None:
    import copy

    import torch

    from sonogloss.decoding.language_model import without_progress_bar
    from sonogloss.prompts.soft import save_mapper

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


def _model_card(clap: ClapReference, reference: LanguageModelReference) -> str:
    model = reference.name or "in `language_model/`"
    adapter = ", with the adapter in `adapter/`" if reference.adapter else ""
    return f"""# A DRCap captioner

It captions sound with a decoder that learnt from text alone: an audio embedding of CLAP `{clap.name}` is carried onto a
text support, mapped to a soft prompt and continued by a language model that also reads retrieved captions.

* CLAP: `{clap.name}`, {clap.dim} dimensions, fingerprint `{clap.fingerprint}`
* language model: {model}{adapter}
* settings and training: `captioner.json`
"""


@contextmanager
def _local_directory(name: str) -> Iterator[Path]:
    """The directory on this machine behind a name, for as long as loading takes."""
    if name == "pocket":
        directory = Path(str(package_files("sonogloss"))) / "pocket" / "weights" / "drcap"
        if not directory.is_dir():
            raise MissingInputError(
                "This installation does not hold the weights of the pocket captioner.",
                "Install the package from its wheel.",
            )
        yield directory
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
        raise OptionError(f"The captioner {name!r} is not a directory.", "Name 'pocket' or a captioner directory.")
