"""Configurations of the commands over audio: caption and classify."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from sonogloss.errors import OptionError
from sonogloss.pipelines.config.beam import BeamOptions
from sonogloss.pipelines.config.fields import (
    CLAP_NAMES,
    OLD_PRECISIONS,
    AnyPath,
    Configuration,
    Paths,
    break_lease_option,
    check_option,
    dead_letters_option,
    device_option,
    numbers,
    option,
    resume_option,
)
from sonogloss.pipelines.config.parser import JOB

if TYPE_CHECKING:
    from sonogloss.audio import WindowPolicy

_shaping = partial(option, digest="resolved")
_window = partial(_shaping, group="windows")
_projection = partial(_shaping, group="projection on the text support")
_decoding = partial(_shaping, group="decoding")


@dataclass(frozen=True, kw_only=True)
class JobOptions(BeamOptions):
    """What every job over audio takes."""

    audio: Paths = option(
        help="files, folders, archives, listings or quoted globs; the flag may be left out right behind the command",
        metavar="GLOB",
        leading=True,
    )
    resume: bool = resume_option(JOB)
    retry_dead_letters: bool = option(
        False,
        group=JOB,
        help="take recordings up again that failed for a reason that may pass; all other results stay",
        recorded=False,
    )
    overwrite: bool = option(False, group=JOB, help="replace the results that the output holds", recorded=False)
    break_lease: bool = break_lease_option(JOB)
    dry_run: bool = option(
        False, group=JOB, help="check everything, process a batch, estimate the time, write nothing", recorded=False
    )
    price_per_hour: float | None = option(
        None,
        group=JOB,
        help="what an hour of this machine costs; --dry-run says what the job costs",
        default_text="none",
        metavar="PRICE",
        at_least=0,
        recorded=False,
    )
    max_dead_letters: float = dead_letters_option("inputs", JOB)

    def check(self) -> None:
        """Refuse a price that nobody asks for, and to take up again what is begun anew."""
        super().check()
        if self.retry_dead_letters and self.begin_anew:
            raise OptionError(
                "--retry-dead-letters continues an earlier run; --overwrite and --no-resume replace it.",
                "Give one of them.",
            )
        if self.price_per_hour is not None and not self.dry_run:
            raise OptionError("--price-per-hour belongs to --dry-run.", "Give both, or leave the price out.")

    @property
    def begin_anew(self) -> bool:
        """Does the job replace what an earlier run left?"""
        return self.overwrite or not self.resume


@dataclass(frozen=True, kw_only=True)
class WindowOptions(Configuration):
    """How recordings are cut, and where models run."""

    window: float = _window(10.0, help="length of a clip in seconds", metavar="S")
    hop: float | None = _window(
        None, help="seconds between the starts of two clips", default_text="the window", metavar="S"
    )
    max_windows: int | None = _window(
        None, help="at most so many clips of a recording, from its start", default_text="all", at_least=1
    )
    long: Literal["windows", "first", "pool", "summary"] = _window(
        "windows",
        help="a row for each window, for the first one only, or one for the recording: pool captions or tags the mean "
        "of its windows' embeddings, summary takes the caption of a window that is nearest to that mean",
    )
    pool_weights: Literal["equal", "loudness"] = _window(
        "equal", help="weights of the windows in that mean: all equal, or by their loudness"
    )
    skip_silent: bool = _window(
        False, help="leave out windows whose peak is below -80 dBFS; they are counted", digest="value"
    )
    channels: Literal["mean", "first", "loudest", "split"] = _window(
        "mean",
        help="how a recording of several channels is used; split gives each channel clips of its own",
        digest="value",
    )
    device: str = device_option(JOB)

    @property
    def policy(self) -> WindowPolicy:
        """How recordings are cut."""
        from sonogloss.audio import WindowPolicy

        return WindowPolicy(
            window_s=self.window,
            hop_s=self.window if self.hop is None else self.hop,
            max_windows=1 if self.long == "first" else self.max_windows,
            skip_silent=self.skip_silent,
            channels=self.channels,
        )

    @property
    def one_row(self) -> bool:
        """Does a recording become one row, from all of its windows?"""
        return self.long in ("pool", "summary")

    def policy_digest(self) -> dict[str, Any]:
        """What the digest of a job holds of windows; some options join it by themselves."""
        values = asdict(self.policy)
        del values["channels"], values["skip_silent"]
        return values | ({self.long: self.pool_weights} if self.one_row else {})

    def check(self) -> None:
        """Refuse windows that cannot be cut, and options that exclude one another."""
        super().check()
        _ = self.policy
        if self.long == "first" and self.max_windows is not None:
            raise OptionError("--long first and --max-windows exclude each other.", "Give one of them.")
        if not self.one_row and self.pool_weights != "equal":
            raise OptionError(
                "--pool-weights belongs to --long pool and summary.", "Add one of them or leave --pool-weights out."
            )


@dataclass(frozen=True, kw_only=True)
class CaptionSettings(WindowOptions):
    """Everything that shapes a caption."""

    datastore: Paths | None = _shaping(
        None,
        help="made by build-datastore; several of the same CLAP count as one",
        default_text="none, for captioners that retrieve nothing",
        metavar="DIR",
    )
    search: Literal["replicated", "partitioned"] = option(
        "replicated",
        help="partitioned opens each shard of the datastore on one worker, which answers all clips: for stores larger "
        "than a worker's memory",
        recorded=False,
    )
    store_check: str = check_option()
    captioner: AnyPath = _shaping(
        "pocket",
        help="pocket, pocket:soft-hard, pocket:zeraucap, or a directory",
        default_text="pocket; pocket:soft-hard to print captions without a datastore",
        metavar="C",
    )
    clap: AnyPath | None = _shaping(
        None,
        help="a captioner fixes its CLAP; name it to check that it is this one",
        default_text="the captioner's",
        metavar="C",
    )
    contexts: int | None = _shaping(
        None,
        help="retrieved captions in the prompt",
        default_text="as many as the captioner learned with",
        metavar="K",
        at_least=0,
    )
    language: str | None = _shaping(
        None, help="language tag of a multilingual captioner", default_text="the captioner's first", metavar="TAG"
    )
    embedding: bool = _shaping(False, help="add the CLAP embedding of each clip to its row")
    parity: bool = _shaping(
        False,
        help="contexts, projection, search and windows as in the method's released code; other options still count",
    )
    projection: bool | None = _projection(
        None, help="project audio embeddings on the text support", default_text="as the captioner says"
    )
    temperature: float | Literal["clap"] | None = _projection(
        None,
        help="temperature of the softmax over the support, or clap for the CLAP's own",
        default_text="the captioner's",
        metavar="T",
        at_least=0,
        aliases=["--projection-temperature"],
    )
    renormalise: bool | None = _projection(
        None, help="scale projected embeddings to unit length", default_text="as the captioner says"
    )
    support: AnyPath | None = _projection(
        None, help="project on the support of another datastore", default_text="the datastore's own", metavar="DIR"
    )
    beams: int | None = _decoding(None, help="beams of the search", default_text="the captioner's", at_least=1)
    candidate_beams: Sequence[int] = _decoding(
        (),
        help="search with each of these numbers of beams (2-8, or 2,4,8) and keep the caption nearest to the audio",
        metavar="N-M",
        at_least=1,
        parse=numbers,
    )
    candidates: int | None = _decoding(
        None,
        help="keep the one of the N best captions of a search that is nearest to the audio",
        default_text="the likeliest one; with --rerank as many as there are beams, at least 4",
    )
    rerank: AnyPath | None = _decoding(
        None,
        help="the CLAP that chooses among candidates",
        default_text="the captioner's, where there are candidates",
        metavar="C",
    )
    fast: bool = _decoding(False, help="zeraucap: leave out the CLAP's guidance")
    magic: bool = _decoding(False, help="drcap, soft-hard: the CLAP weighs the candidates of the search (magic beam)")
    no_repeat_ngram: int | None = _decoding(
        None,
        help="no N tokens in a row occur twice in a caption; 0 for no such rule",
        default_text="the captioner's",
        metavar="N",
        at_least=0,
    )
    precision: Literal["float32", "bfloat16", "float16", "int8"] | None = _decoding(
        None,
        help="weights of the language model",
        default_text="float32 on a CPU, as stored elsewhere",
        old_values=OLD_PRECISIONS,
    )

    @property
    def policy(self) -> WindowPolicy:
        """How recordings are cut; released captioners take the first window of a recording."""
        first = self.parity and self.max_windows is None and not self.one_row
        return replace(super().policy, max_windows=1) if first else super().policy

    def check(self) -> None:
        """Refuse options that exclude one another."""
        super().check()
        if self.candidates is not None and self.candidates < 2:
            raise OptionError(f"--candidates {self.candidates} leaves nothing to choose from.", "Give 2 or more.")
        if not self.candidate_beams:
            return
        for name in ("candidates", "beams"):
            if getattr(self, name) is not None:
                raise OptionError(f"--{name} and --candidate-beams exclude each other.", "Give one of them.")
        if list(self.candidate_beams) != sorted(set(self.candidate_beams)):
            raise OptionError(
                f"--candidate-beams {list(self.candidate_beams)} are not ascending numbers of beams.",
                "Give some like 2-8.",
            )


@dataclass(frozen=True, kw_only=True)
class CaptionConfig(CaptionSettings, JobOptions):
    """Options of `caption`."""

    output: AnyPath | None = option(
        None, help="the results directory", default_text="none, captions are printed", metavar="DIR", recorded=False
    )
    format: Literal["txt", "jsonl", "csv", "srt", "vtt"] | None = option(
        None,
        help="how captions are printed; with --output they are written below its exports, too",
        default_text="txt; with --output none",
        recorded=False,
    )

    def check(self) -> None:
        """Refuse options of printing and of results that do not go together."""
        super().check()
        if self.output is None and (self.dry_run or self.begin_anew or self.retry_dead_letters or self.workers):
            raise OptionError(
                "--dry-run, --overwrite, --no-resume, --retry-dead-letters and --workers are for a results directory.",
                "Give --output DIR.",
            )


@dataclass(frozen=True, kw_only=True)
class ClassifyConfig(WindowOptions, JobOptions):
    """Options of `classify`."""

    output: AnyPath = option(help="the results directory", metavar="DIR", recorded=False)
    labels: AnyPath = _shaping(help="one a line, csv or json with names; or pocket", metavar="FILE|NAME")
    clap: AnyPath | None = _shaping(
        None, help=CLAP_NAMES, default_text="the one that --label-prompts were learned with, else pocket", metavar="C"
    )
    label_prompts: AnyPath | None = _shaping(
        None, help="made by tune-labels; in place of a template", default_text="none", metavar="DIR"
    )
    template: Sequence[str] = _shaping(
        (),
        help="sentences with {label}; embeddings of several are averaged",
        default_text="this is a sound of {label}",
        metavar="TEXT",
    )
    top: int | None = _shaping(
        None, help="labels per row at most", default_text="5; with --multi-label all", metavar="K", at_least=1
    )
    multi_label: bool = _shaping(False, help="several labels may be true: name all that reach the threshold")
    threshold: float | None = _shaping(
        None,
        help="lowest cosine of a label that is named",
        default_text="none; 0.5 with --multi-label",
        metavar="COSINE",
    )
    all_scores: bool = _shaping(False, help="add a column with the scores of all labels")

    def check(self) -> None:
        """Refuse options that exclude one another."""
        super().check()
        if self.long == "summary":
            raise OptionError("--long summary chooses among captions, and classify writes none.", "Use --long pool.")
        if self.label_prompts is not None and self.template:
            raise OptionError("--template and --label-prompts exclude each other.", "Learned prompts need no template.")
