r"""classify: recordings -> the labels that fit, one row a clip.

::

    sonogloss classify --audio 'gs://BUCKET/audio/**/*.flac' --labels labels.txt --output gs://BUCKET/tags \
        --runner=DataflowRunner --project=P --region=R --temp_location=gs://BUCKET/tmp
"""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import asdict, dataclass
from typing import Any

from sonogloss.errors import OptionError
from sonogloss.methods.labels import read_labels
from sonogloss.pipelines.config.captioning import ClassifyConfig
from sonogloss.pipelines.config.parser import command
from sonogloss.pipelines.running.audio_job import run_audio_job
from sonogloss.pipelines.running.dry_run import show_dry_run
from sonogloss.pipelines.running.inputs import check_window, device_for, runs_elsewhere
from sonogloss.pipelines.running.report import show_run
from sonogloss.pipelines.running.terminal import plain_console
from sonogloss.records import LabelRow
from sonogloss.transforms.batch_step import BatchStep, Step
from sonogloss.transforms.embed_audio import embed_audio
from sonogloss.transforms.models import ClapReference, TaggerReference
from sonogloss.transforms.pool_windows import PoolWindows, measure_loudness
from sonogloss.transforms.tag_clips import LabelSelection, tag_clips
from sonogloss.transforms.write_rows import LabelRows

TOP = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class TagJob:
    """The loaded parts of one job and the settings that shape its rows; made by :func:`prepare`."""

    config: ClassifyConfig
    clap: ClapReference
    tagger: TaggerReference
    selection: LabelSelection

    @property
    def sample_rate(self) -> int:
        """The CLAP's rate, in Hz."""
        return self.clap.outline.sample_rate

    @property
    def rows(self) -> LabelRows:
        """What a row holds."""
        return LabelRows(all_scores=len(self.tagger.labels) if self.config.all_scores else None)

    def fingerprints(self) -> dict[str, str]:
        """Which CLAP and which labels."""
        return {"clap": self.clap.fingerprint, "labels": self.tagger.fingerprint}

    def digest(self, device: str = "cpu", labels: str | None = None) -> str:
        """A digest of everything that shapes a row; part files carry it.

        Where models run is no part of it, nor are the embeddings of the labels: earlier releases noted a device and the
        fingerprint of embedded labels, and their results go on under :meth:`earlier_digests`.
        """
        shape = {
            "rows": LabelRows.folder,
            **self.fingerprints(),
            **({} if labels is None else {"labels": labels}),
            "device": device,
            "choice": asdict(self.selection),
            "policy": self.config.policy_digest(),
            "all_scores": self.config.all_scores,
            **self.config.row_options(),
        }
        return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()

    def earlier_digests(self) -> tuple[str, ...]:
        """Those of results that an earlier release made."""
        labels = self.tagger.load().fingerprint
        return tuple(self.digest(device, labels) for device in ("cpu", "cuda", "auto"))

    def record(self) -> dict[str, Any]:
        """What the options became, and the labels."""
        return {
            "head": {"labels": list(self.tagger.labels)},
            "clap": self.clap.name,
            "device": self.clap.device,
            **asdict(self.selection),
        }

    def steps(self) -> dict[str, Step]:
        """Embed and tag."""
        found: dict[str, Step] = {}
        if self.config.pool_weights == "loudness":
            found["MeasureLoudness"] = BatchStep(measure_loudness)
        found["EmbedAudio"] = BatchStep(embed_audio, clap=self.clap, frames=self.tagger.needs_frames)
        if self.config.long == "pool":
            found["PoolWindows"] = PoolWindows()
        return found | {"TagClips": BatchStep(tag_clips, tagger=self.tagger, selection=self.selection)}

    def preview(self, row: LabelRow) -> dict[str, Any]:
        """The labels of a row."""
        return {"labels": [asdict(label) for label in row.labels]}


@command(ClassifyConfig)
def classify(config: ClassifyConfig) -> dict[str, Any]:
    """Tag recordings.

    Scores are cosines, in [-1, 1]; how high they are depends on the CLAP.

    Returns:
        The report, as of :func:`~sonogloss.pipelines.caption_audio.caption`, with `counts.labels` rows.

    Raises:
        InputError: an option or an input makes the job impossible.
    """
    names = read_labels(str(config.labels))
    return run_audio_job(config, lambda: prepare(config, names))


def prepare(config: ClassifyConfig, names: tuple[str, ...]) -> TagJob:
    """Load the CLAP and embed the labels, or, where workers elsewhere will do so, look at both.

    Raises:
        FingerprintMismatchError: the prompts were learned with another CLAP.
        InputError: an option or a file cannot be used.
    """
    from sonogloss.tagging.label_prompts import load_label_prompts
    from sonogloss.tagging.tagger import TEMPLATE, THRESHOLD

    prompts = None if config.label_prompts is None else load_label_prompts(str(config.label_prompts))
    name = str(config.clap or (prompts.clap if prompts else "pocket"))
    look = runs_elsewhere(config.beam_args)
    model = ClapReference.of(name, device_for(config.device, config.beam_args), look=look)
    check_window(config.policy, model)
    if prompts is not None:
        prompts.require_clap(name, model.fingerprint)
    tagger = TaggerReference(
        labels=names,
        clap=model,
        templates=() if prompts else tuple(config.template or [TEMPLATE]),
        prompts=str(config.label_prompts) if prompts else None,
        prompts_fingerprint=prompts.fingerprint if prompts else None,
    )
    if not look:
        tagger.load()  # what cannot be embedded is an error now
    if config.long == "pool" and tagger.needs_frames:
        raise OptionError(
            "--long pool has one embedding a recording, and these --label-prompts are compared with moments of a clip.",
            "Use --long windows, or leave --label-prompts out.",
        )
    top, threshold = config.top, config.threshold
    if config.multi_label:
        threshold = THRESHOLD if threshold is None else threshold
    else:
        top = TOP if top is None else top
    selection = LabelSelection(top=top, threshold=threshold)
    return TagJob(config=config, clap=model, tagger=tagger, selection=selection)


def show(report: dict[str, Any]) -> None:
    """Print the report for a person."""
    if report.get("dry_run"):
        show_dry_run(
            report, lambda row: ", ".join(f"{label['label']} ({label['score']:.2f})" for label in row["labels"])
        )
    elif "job" not in report:  # a job that was left was named when it was submitted
        show_run(report, rows=LabelRows.folder, done="tagged")
        plain_console().print(f"Next: sonogloss report {shlex.quote(report['output'])}", soft_wrap=True)
