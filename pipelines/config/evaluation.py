"""Configurations of evaluate and demo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sonogloss.errors import OptionError
from sonogloss.pipelines.config.beam import BeamOptions
from sonogloss.pipelines.config.fields import CLAP_NAMES, AnyPath, Configuration, Paths, option


def _metric_names() -> tuple[str, ...]:
    from sonogloss.metrics import GROUPS, METRICS

    return (*METRICS, *GROUPS)


def _names(text: str) -> tuple[str, ...]:
    """The names of a list separated by commas."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise OptionError("--metrics names no metric.", "Leave it out for all of them.")
    return names


_PER: Any = option(
    "clip", help="score every caption, or of each recording the one that fits its sound best by clap_score"
)


@dataclass(frozen=True, kw_only=True)
class ScoringOptions(Configuration):
    """How captions are compared with references."""

    metrics: str | Sequence[str] = option(
        (),
        help="names or groups, separated by commas",
        default_text="bleu, rouge_l, cider_d and clap_sim, or accuracy and map",
        metavar="LIST",
        choices=_metric_names,
        parse=_names,
    )
    tokenizer: Literal["simple", "ptb", "whitespace"] = option("simple", help="how captions are cut into words")
    sentence_model: AnyPath | None = option(
        None,
        help="a model of sentence-transformers, for sbert_sim and fense",
        default_text="none",
        metavar="DIR|HUB_ID",
    )
    fluency_model: AnyPath | None = option(
        None,
        help="a checkpoint of FENSE's error detector, for fer, fense, spider_fl",
        default_text="none",
        metavar="FILE",
    )
    datastore: AnyPath | None = option(
        None, help="the datastore behind the captions, for novel_trigrams", default_text="none", metavar="DIR"
    )
    key: str | None = option(
        None, help="the references' key column", default_text="found by its name", metavar="COLUMN"
    )
    references_column: Sequence[str] = option(
        (), help="columns with references", default_text="found by their names", metavar="COLUMN"
    )
    per: Literal["clip", "recording"] = _PER
    bootstrap: int = option(1000, help="resampled corpora for the 95 % intervals; 0 for none", at_least=0)
    seed: int = option(0, help="seed of the resampling", at_least=0)


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(ScoringOptions, BeamOptions):
    """Options of `evaluate`."""

    results: AnyPath = option(help="a results directory, or jsonl, csv or parquet with captions", metavar="PATH")
    references: AnyPath = option(
        help="jsonl, csv or parquet with a key column and references; for tags with label", metavar="FILE"
    )
    output: AnyPath = option(
        help="where metrics/corpus.parquet and metrics/clips.parquet go", metavar="DIR", recorded=False
    )
    max_unmatched: float = option(
        0.5,
        help="share of captions without references, or without text, above which the exit code is 1",
        at_least=0,
        at_most=1,
    )
    overwrite: bool = option(False, help="replace the metrics that the output holds", recorded=False)


@dataclass(frozen=True, kw_only=True)
class CompareConfig(ScoringOptions):
    """Options of `compare`."""

    results: Sequence[AnyPath] = option(
        help="two or more results directories, or tables with captions", metavar="RESULTS", positional=True
    )
    references: AnyPath = option(help="references, as evaluate takes them", metavar="FILE")
    bootstrap: int = option(1000, help="resampled corpora for the 95 % intervals", at_least=0)
    output: AnyPath | None = option(
        None, help="a Parquet file for the values of every clip", default_text="none", metavar="FILE"
    )


@dataclass(frozen=True, kw_only=True)
class ReportConfig(Configuration):
    """Options of `report`."""

    results: AnyPath = option(help="a results directory of caption or classify", metavar="RESULTS", positional=True)
    output: AnyPath = option("report.html", help="the page; an earlier one is replaced", metavar="FILE")
    references: AnyPath | None = option(
        None, help="references, as evaluate takes them", default_text="none", metavar="FILE"
    )
    compare: Paths | None = option(
        None, help="other results directories, shown beside the first", default_text="none", metavar="RESULTS"
    )
    per: Literal["clip", "recording"] = _PER
    audio: Literal["embed", "link", "none"] = option(
        "embed", help="put the sound into the page, link to local recordings, or read no sound"
    )
    audio_mb: float = option(
        32.0, flag="--audio-mb", help="embedded sound in megabytes; clips beyond it are shown without", metavar="MB"
    )
    clips: int = option(10_000, help="clips on the page, the first ones by name", metavar="N", at_least=1)


@dataclass(frozen=True, kw_only=True)
class DemoConfig(BeamOptions):
    """Options of `demo`."""

    output: AnyPath = option("demo-output", help="where everything is written", metavar="DIR")
    clap: AnyPath = option("pocket", help=CLAP_NAMES, metavar="C")
    captioner: AnyPath = option("pocket", help="a captioner that fits the CLAP", metavar="C")
    scenes: int = option(12, help="recordings to synthesize", at_least=1)
    captions: int = option(4000, help="captions in the datastore", at_least=1)
