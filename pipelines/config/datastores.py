"""Configurations of the commands over captions, models and what is on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sonogloss.errors import OptionError
from sonogloss.pipelines.config.beam import BeamOptions
from sonogloss.pipelines.config.fields import (
    CLAP_NAMES,
    AnyPath,
    Configuration,
    Paths,
    break_lease_option,
    check_option,
    dead_letters_option,
    device_option,
    option,
)
from sonogloss.pipelines.config.parser import JOB


def _layout_names() -> tuple[str, ...]:
    from sonogloss.dumps.layouts import LAYOUTS

    return ("auto", "none", *LAYOUTS)


def _checkpoint_layouts() -> tuple[str, ...]:
    from sonogloss.clap.backend import CHECKPOINTS

    return ("auto", *CHECKPOINTS)


@dataclass(frozen=True, kw_only=True)
class BuildDatastoreConfig(BeamOptions):
    """Options of `build-datastore`."""

    captions: Paths = option(
        help="dumps (txt, json, jsonl, csv, tsv, parquet, tar; also .gz, .zst, .bz2, .xz), folders, globs or URLs; "
        "NAME=GLOB credits them to NAME",
        metavar="GLOB",
    )
    output: AnyPath = option(help="the datastore's directory", metavar="DIR", recorded=False)
    clap: AnyPath = option("pocket", help=CLAP_NAMES, metavar="C")
    text_column: Sequence[str] = option(
        ("text",),
        help="columns with captions; FILE=NAME or SOURCE=NAME for some dumps only",
        default_text="text, or what the layout says",
        metavar="NAME",
    )
    layout: str = option("auto", help="published layout of the dumps; auto looks at the columns", choices=_layout_names)
    source: str | None = option(
        None,
        help="what captions without a NAME= are credited to",
        default_text="the name of their file",
        metavar="NAME",
    )
    license: Sequence[str] = option(
        (), help="license of all captions, or SOURCE=LICENSE for some; kept in the manifest", metavar="TEXT"
    )
    min_words: int | None = option(None, help="leave out captions of fewer words", default_text="none", at_least=1)
    max_words: int | None = option(None, help="leave out captions of more words", default_text="none", at_least=1)
    index: str = option(
        "auto",
        help="kind of index: flat (exact), ivf-flat, ivf-rabitq, ivf-pq, or a string of faiss.index_factory; auto is "
        "flat while the vectors fit --index-memory",
        metavar="KIND",
    )
    index_memory: float = option(
        8.0, help="memory that the index may take when it is searched", metavar="GIB", at_least=0
    )
    recall: float = option(
        0.95, help="share of the ten nearest captions that the index must find", at_least=0, at_most=1
    )
    recall_audio: Paths = option(
        (),
        help="recordings, or .npy files of audio embeddings: the index must find this share of their ten nearest too",
        metavar="GLOB",
    )
    support: str = option(
        "all",
        help="what queries are projected on: all captions, sample:N or kmeans:N of them, or another datastore's",
        metavar="S",
    )
    shards: int | None = option(None, help="number of shards", default_text="one per million captions", at_least=1)
    vectors: str = option(
        "float32",
        help="number format of the stored vectors; float16 takes half the space",
        choices=("float32", "float16"),
    )
    precision: str = option(
        "float32",
        help="number format of the text tower; those of 16 bits are faster on a GPU",
        choices=("float32", "bfloat16", "float16"),
    )
    overwrite: bool = option(False, group=JOB, help="replace the datastore that the output holds", recorded=False)
    break_lease: bool = break_lease_option(JOB)
    append: bool = option(
        False, group=JOB, help="add what is new to the datastore that the output holds", recorded=False
    )
    store_check: str = check_option("the datastore that --append adds to", JOB)
    max_dead_letters: float = dead_letters_option("lines", JOB)
    device: str = device_option(JOB)

    def check(self) -> None:
        """Refuse limits that no caption keeps, and recordings that would not be listened to."""
        if self.min_words is not None and self.max_words is not None and self.min_words > self.max_words:
            raise OptionError(
                f"--min-words {self.min_words} is more than --max-words {self.max_words}.", "Exchange them."
            )
        if self.append and self.recall_audio:
            raise OptionError("--append measures with the recordings of the first build.", "Leave --recall-audio out.")


@dataclass(frozen=True, kw_only=True)
class CompactConfig(Configuration):
    """Options of `compact`."""

    datastore: AnyPath = option(help="made by build-datastore", metavar="DATASTORE", positional=True)
    remove_source: tuple[str, ...] = option(
        (), help="sources whose captions are removed", default_text="none", metavar="NAME"
    )
    shards: int | None = option(None, help="number of shards", default_text="one per million captions", at_least=1)
    break_lease: bool = break_lease_option(JOB)


@dataclass(frozen=True, kw_only=True)
class SearchConfig(Configuration):
    """Options of `search`."""

    datastore: Paths = option(
        help="made by build-datastore; several of the same CLAP count as one", metavar="DATASTORE", positional=True
    )
    text: str | None = option(None, help="a sentence to look up", default_text="none", metavar="TEXT")
    audio: AnyPath | None = option(
        None, help="a recording, of which every window is looked up", default_text="none", metavar="FILE"
    )
    id: int | None = option(
        None, help="id of a caption of the datastore, whose neighbors are looked up", default_text="none", metavar="ID"
    )
    k: int = option(5, flag="-k", help="captions per query", metavar="K", at_least=1)
    where: Sequence[str] = option(
        (),
        help="only captions with this value in a column (source=NAME); of several values of a column, any",
        default_text="all captions",
        metavar="COLUMN=VALUE",
    )
    search: Literal["replicated", "partitioned"] = option(
        "replicated", help="partitioned maps one shard after the other, for stores larger than the memory"
    )
    store_check: str = check_option()
    clap: AnyPath | None = option(
        None, help="a datastore fixes its CLAP; name it where it has moved", default_text="the datastore's", metavar="C"
    )
    device: str = device_option()

    @property
    def filters(self) -> dict[str, list[str]]:
        """The values allowed, by column."""
        found: dict[str, list[str]] = {}
        for item in self.where:
            column, _, value = item.partition("=")
            found.setdefault(column, []).append(value)
        return found

    def check(self) -> None:
        """Refuse what is not one query."""
        if sum(value is not None for value in (self.text, self.audio, self.id)) != 1:
            raise OptionError("One of --text, --audio and --id is needed.", "Give one query.")
        if self.text is not None and not self.text.strip():
            raise OptionError("--text is empty.", "Give a sentence.")
        for item in self.where:
            if not item.partition("=")[0] or "=" not in item:
                raise OptionError(f"--where {item!r} is not COLUMN=VALUE.", "Give a column and a value, as source=bbc.")


@dataclass(frozen=True, kw_only=True)
class ConvertClapConfig(Configuration):
    """Options of `convert-clap`."""

    checkpoint: AnyPath = option(
        help="a checkpoint of LAION, WavCaps, DRCap or MS-CLAP; local or any fsspec URL",
        metavar="CKPT",
        positional=True,
    )
    output: AnyPath = option(help="the model's directory", metavar="DIR")
    layout: str = option(
        "auto", help="whose checkpoint it is; auto looks at the names of its weights", choices=_checkpoint_layouts
    )
    tokenizer: AnyPath | None = option(
        None,
        help="directory of the text tower's tokenizer, which no checkpoint holds; or roberta-base or hf:owner/name, "
        "which is downloaded",
        default_text="the one it was trained with, if it is on this machine",
        metavar="T",
    )
    overwrite: bool = option(False, help="replace the model that the output holds")


@dataclass(frozen=True, kw_only=True)
class VerifyConfig(BeamOptions):
    """Options of `verify`."""

    directory: AnyPath = option(
        help="a datastore, captioner, label prompts, results or metrics directory", metavar="DIR", positional=True
    )
    sample: int | None = option(
        None, help="read N files of results only; counts come from their list", default_text="all", at_least=1
    )


@dataclass(frozen=True, kw_only=True)
class InspectConfig(Configuration):
    """Options of `inspect`."""

    directory: AnyPath = option(
        help="a datastore, captioner, label prompts, results or metrics directory, or a page of report",
        metavar="DIR",
        positional=True,
    )
