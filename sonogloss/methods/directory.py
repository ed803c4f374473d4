"""A captioner directory: load it by name, save a trained one.

::

    captioner.json        what it is; written last
    mapper.safetensors    the soft prompt, unless there is none
    labels/               the names that a hard prompt chooses from, with their embeddings (soft-hard, zeraucap)
    language_model/       weights, configuration and tokenizer, unless the model is named by a hub id
    adapter/              a peft adapter, when one was trained
    README.md             the model card
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib.resources import files as package_files
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sonogloss import files
from sonogloss.decoding.settings import DecodeSettings
from sonogloss.errors import MissingInputError, ModelFormatError, OptionError, unknown
from sonogloss.hub import HUB
from sonogloss.methods.base import Captioner, CaptionerSpec, ClapIdentity, ProjectionSettings, Prompt
from sonogloss.methods.labels import LabelBank, load_bank, save_bank
from sonogloss.methods.manifest import MAPPER, LanguageModelReference, Manifest, read_manifest, write_manifest
from sonogloss.methods.registry import Method, get_method, method_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from sonogloss.methods.mapper import AnyMapper

LANGUAGE_MODEL = "language_model"
ADAPTER = "adapter"
LABELS = "labels"
POCKET = {"pocket": "drcap", "pocket:soft-hard": "soft-hard", "pocket:zeraucap": "zeraucap"}
"""The captioners of this package: the names they have, and their folders among its weights."""


def load_captioner(captioner: str | os.PathLike[str] | CaptionerSpec, **settings: Any) -> Captioner:
    """Load a captioner.

    Only a captioner whose language model is named by a hub id may use the network.

    Args:
        captioner: which one, and how it decodes; a plain name or path stands for the spec with its defaults.
        **settings: fields of the spec beside a plain name: `load_captioner("pocket", beams=2)`.

    Raises:
        OptionError: the name cannot be one of a captioner, or its method has no such beams, language or guidance.
        MissingInputError: there is no such directory.
        ModelFormatError: a file is missing, damaged, or of another format.
    """
    if isinstance(captioner, CaptionerSpec) and settings:
        raise TypeError("load_captioner takes no settings beside a spec, which has them.")
    spec = captioner if isinstance(captioner, CaptionerSpec) else CaptionerSpec(name=os.fspath(captioner), **settings)
    with _local_directory(spec.name) as directory:
        manifest = read_manifest(str(directory), every_byte=True)
        method = get_method(manifest.method)
        if spec.parity:
            manifest = method.released(manifest, _positions(manifest, directory))
        manifest = method.configured(manifest, spec)
        return method.captioner_class()(**_open_parts(directory, manifest, spec))


def outline_captioner(spec: CaptionerSpec) -> CaptionerOutline:
    """Look at a captioner: `captioner.json` is read, and no weight is loaded.

    Raises:
        InputError: as of :func:`load_captioner`.
    """
    with nullcontext(Path(spec.name)) if "://" in spec.name else _local_directory(spec.name) as directory:
        manifest = read_manifest(spec.name if "://" in spec.name else str(directory))
        positions = _positions(manifest, directory)
    method = get_method(manifest.method)
    if spec.parity:
        manifest = method.released(manifest, positions)
    manifest = method.configured(manifest, spec)
    tokens = manifest.decode.max_new_tokens if isinstance(manifest.decode, DecodeSettings) else None
    return CaptionerOutline(
        method=manifest.method,
        clap=manifest.clap,
        contexts=manifest.contexts,
        projection=manifest.projection,
        fingerprint=manifest.fingerprint,
        has_keywords=bool(cast(Any, manifest.prompt).label_count),
        max_prompt_tokens=None if positions is None or tokens is None else positions - tokens,
        beams=manifest.decode.num_beams if isinstance(manifest.decode, DecodeSettings) else None,
    )


@dataclass(frozen=True, kw_only=True)
class CaptionerOutline:
    """What a job's launcher asks of a captioner; attributes of :class:`~sonogloss.methods.base.Captioner`."""

    method: str
    clap: ClapIdentity
    contexts: int
    projection: ProjectionSettings | None
    fingerprint: str
    has_keywords: bool
    max_prompt_tokens: int | None
    beams: int | None


def _open_parts(directory: Path, manifest: Manifest, spec: CaptionerSpec) -> dict[str, Any]:
    """The parts that a manifest names, loaded: what a :class:`~sonogloss.methods.base.Captioner` is made of."""
    from sonogloss.decoding.language_model import load_language_model
    from sonogloss.methods.mapper import load_mapper

    reference, slots = manifest.language_model, manifest.prompt.audio_slots
    own = reference.path is not None
    language_model = load_language_model(
        str(directory / reference.path) if reference.path is not None else f"{HUB}{reference.name}",
        adapter=str(directory / reference.adapter) if reference.adapter is not None else None,
        device=spec.device,
        # Our own may be stored as float16 to be small, not to be computed with.
        dtype=spec.precision or ("float32" if own else None),
        revision=reference.revision,
    )
    return {
        "language_model": language_model,
        "mapper": load_mapper(str(directory / MAPPER), slots=slots) if slots else None,
        "labels": None if manifest.labels is None else load_bank(str(directory / manifest.labels)),
        "prompt": manifest.prompt,
        "clap": manifest.clap,
        "contexts": manifest.contexts,
        "projection": manifest.projection,
        "decode": manifest.decode,
        "fingerprint": manifest.fingerprint,
        "device": spec.device,
    }


def _positions(manifest: Manifest, directory: Path) -> int | None:
    """How many positions the language model has, where its configuration lies in the directory and names them."""
    path = None if manifest.language_model.path is None else directory / manifest.language_model.path / "config.json"
    if path is None or not path.is_file():
        return None
    config = files.read_json(str(path), error=ModelFormatError)
    found = config.get("max_position_embeddings", config.get("n_positions"))
    return int(found) if found else None


@dataclass(frozen=True, kw_only=True, eq=False)
class NewCaptioner:
    """What a captioner directory is made of; its method is the one whose prompt this is.

    Args:
        clap: the CLAP it was made with.
        language_model: the trained PreTrainedModel, or a peft PeftModel around an untouched one.
        tokenizer: its tokenizer.
        mapper: the trained mapper; None for a prompt without audio slots.
        prompt: the words around a caption, such as `ComposedPrompt`, `SoftHardPrompt` or `KeywordPrompt`.
        projection: how embeddings are projected before it captions; None takes them as they are.
        contexts: how many retrieved captions it was trained to read; by default as many as the method's released
            system, 3 for DRCap and none for the others.
        decode: how it searches; by default as the method's released system.
        labels: what its prompts name; None where they name nothing.
        training: how it was trained, as JSON values (`TrainingRecord.as_json()`).
        base: the language model as it was, where training left its weights alone: a local directory, whose files are
            copied, or a hub id, which is named only. None writes the weights.
        half: store weights as float16; they are read back as float32 on a CPU.
        model_card: text of `README.md`; by default a short one.
    """

    clap: ClapIdentity
    language_model: Any
    tokenizer: PreTrainedTokenizerBase
    mapper: AnyMapper | None
    prompt: Prompt
    projection: ProjectionSettings | None
    contexts: int | None = None
    decode: Any = None
    labels: LabelBank | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    base: str | None = None
    half: bool = False
    model_card: str | None = None


def save_captioner(directory: str, new: NewCaptioner) -> None:
    """Write a captioner as a directory, local or any fsspec URL.

    Raises:
        OptionError: an adapter without a base.
        OutputError: the directory cannot be written.
    """
    method, reference = method_of(new.prompt), _reference(new)
    with tempfile.TemporaryDirectory(prefix="captioner-") as temporary:
        staging = Path(temporary)
        _write_language_model(staging, new, reference)
        if new.mapper is not None:
            _write_mapper(staging, new.mapper, half=new.half)
        if new.labels is not None:
            save_bank(new.labels, str(staging / LABELS))
        card = _model_card(method, new.clap, reference) if new.model_card is None else new.model_card
        (staging / "README.md").write_text(card, encoding="utf-8")
        names = _copy_files(staging, directory)
    manifest = Manifest(
        method=method.name,
        clap=new.clap,
        language_model=reference,
        prompt=new.prompt,
        labels=None if new.labels is None else LABELS,
        contexts=method.contexts if new.contexts is None else new.contexts,
        projection=new.projection,
        decode=new.decode or method.decode,
        training=new.training,
        files=tuple(files.file_entry(directory, name) for name in names),
    )
    write_manifest(directory, manifest)


def _copy_files(staging: Path, directory: str) -> list[str]:
    """Copy a local folder's files, each whole; returns their names."""
    names = sorted(path.relative_to(staging).as_posix() for path in staging.rglob("*") if path.is_file())
    for name in names:
        with (staging / name).open("rb") as source, files.atomic_write(files.join(directory, name)) as target:
            shutil.copyfileobj(source, target)
    return names


def _reference(new: NewCaptioner) -> LanguageModelReference:
    """Where the captioner will find its language model."""
    base, adapted = new.base, hasattr(new.language_model, "get_base_model")
    if adapted and base is None:
        raise OptionError("A language model with an adapter needs its base.", "Name the directory or hub id it is of.")
    on_hub = None if base is None or Path(base).is_dir() else base.removeprefix(HUB)
    return LanguageModelReference(
        path=LANGUAGE_MODEL if on_hub is None else None,
        name=on_hub,
        revision=getattr(new.language_model.config, "_commit_hash", None) if base is not None else None,
        adapter=ADAPTER if adapted else None,
    )


def _write_mapper(staging: Path, mapper: AnyMapper, *, half: bool) -> None:
    import torch

    from sonogloss.methods.mapper import save_mapper

    save_mapper(mapper, str(staging / MAPPER), dtype=torch.float16 if half else torch.float32)


def _write_language_model(staging: Path, new: NewCaptioner, reference: LanguageModelReference) -> None:
    import copy

    from sonogloss.decoding.language_model import without_progress_bar

    if reference.adapter is not None:
        new.language_model.save_pretrained(staging / reference.adapter)
        _sort_targets(staging / reference.adapter / "adapter_config.json")
    if reference.path is None:
        return
    if new.base is not None:
        (staging / reference.path).mkdir()
        for path in sorted(Path(new.base).iterdir()):
            if path.suffix in (".json", ".safetensors", ".model", ".txt", ".jinja"):  # the last holds a chat template
                shutil.copyfile(path, staging / reference.path / path.name)
        return
    whole = copy.deepcopy(new.language_model).half() if new.half else new.language_model
    with without_progress_bar():
        whole.save_pretrained(staging / reference.path)
    new.tokenizer.save_pretrained(staging / reference.path)


def _sort_targets(path: Path) -> None:
    """Peft writes a set in any order, and with it the file's digest changes from run to run."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config["target_modules"] = sorted(config["target_modules"])
    path.write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")


def _model_card(method: Method, clap: ClapIdentity, reference: LanguageModelReference) -> str:
    model = reference.name or "in `language_model/`"
    adapter = ", with the adapter in `adapter/`" if reference.adapter else ""
    head = method.card.replace("{clap}", clap.name)
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
        raise unknown("captioner", name, POCKET)
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
