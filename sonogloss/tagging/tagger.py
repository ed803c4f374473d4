"""Zero-shot tagging: label embeddings, and the scores of clips.

A plain tagger compares clips with label embeddings. A prompted one adds frames: its score is the mean of the coarse and
the fine score (the published one is their sum, which ranks labels the same way). All scores are cosines in [-1, 1].
Their level depends on the CLAP, so a threshold for one does not carry over to another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sonogloss.clap import Clap
from sonogloss.clap.prompted_text import PromptedLabels
from sonogloss.errors import OptionError
from sonogloss.methods.labels import embed_labels
from sonogloss.one_thread import one_thread
from sonogloss.records import FloatArray
from sonogloss.tagging.config import TEMPERATURE
from sonogloss.tagging.label_prompts import LabelPrompts
from sonogloss.tagging.scores import coarse_scores, fine_scores

TEMPLATE = "this is a sound of {label}"
THRESHOLD = 0.5
"""The lowest score of a label that is named, where several may be true. Chosen with the pocket CLAP on scenes of one to
three sounds, where it balances precision and recall; other CLAPs need another one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Tagger:
    """Labels in a CLAP's space.

    Attributes:
        labels: the names, as they were given.
        coarse: [labels, dim] unit rows, compared with clips.
        fine: [labels, dim] unit rows, compared with frames; None compares clips only.
        temperature: of the softmax over frames.
        clap: fingerprint of the CLAP.
    """

    labels: tuple[str, ...]
    coarse: FloatArray
    fine: FloatArray | None
    temperature: float
    clap: str

    @property
    def needs_frames(self) -> bool:
        """True if labels are compared with frames too."""
        return self.fine is not None

    @property
    def fingerprint(self) -> str:
        """A digest of all that shapes a score, including the labels and their order."""
        running = hashlib.sha256("\x00".join([self.clap, str(self.temperature), *self.labels]).encode())
        for vectors in (self.coarse, self.fine):
            running.update(b"" if vectors is None else np.ascontiguousarray(vectors).tobytes())
        return running.hexdigest()

    def scores(self, clips: FloatArray, frames: FloatArray | None = None) -> FloatArray:
        """Scores of all labels for each clip.

        Args:
            clips: unit rows [n, dim].
            frames: unit rows [n, frames, dim]; required with fine label embeddings.

        Returns:
            float32 [n, labels]; a row does not depend on the others.
        """
        # In double precision, rounded at the end: the last bits of a matrix product depend on its shape.
        with torch.inference_mode(), one_thread():
            found = coarse_scores(_double(clips), _double(self.coarse))
            if self.fine is not None:
                if frames is None:
                    raise ValueError("fine label embeddings need frames")
                fine = fine_scores(_double(frames), _double(self.fine), temperature=self.temperature)
                found = (found + fine) / 2
            return found.float().numpy()


def as_words(label: str) -> str:
    """A class name as words: `crackling_fire` becomes `crackling fire`."""
    return " ".join(label.replace("_", " ").split())


def plain_tagger(labels: Sequence[str], clap: Clap, templates: Sequence[str] = (TEMPLATE,)) -> Tagger:
    """Labels in templates; the embeddings of several templates are averaged.

    Raises:
        OptionError: a template does not hold `{label}` once, or there are no labels or templates.
    """
    if not labels or not templates:
        raise OptionError("Tagging needs labels and a template.", "Give at least one of each.")
    words = [as_words(label) for label in labels]
    banks = [embed_labels(words, clap, template=template).embeddings for template in templates]
    mean = np.mean(banks, axis=0, dtype=np.float64)
    norms = np.linalg.norm(mean, axis=1, keepdims=True)
    unit = np.divide(mean, norms, out=np.zeros_like(mean), where=norms > 0).astype(np.float32)
    return Tagger(labels=tuple(labels), coarse=unit, fine=None, temperature=TEMPERATURE, clap=clap.fingerprint)


def prompted_tagger(labels: Sequence[str], clap: Clap, prompts: LabelPrompts) -> Tagger:
    """Labels behind learned prompts; they may be others than the prompts were learned on.

    Raises:
        FingerprintMismatchError: they were learned with another CLAP.
        OptionError: there are no labels, or a label is too long.
    """
    prompts.require_clap(clap.name, clap.fingerprint)
    prompted = PromptedLabels(
        clap, [as_words(label).lower() for label in labels], len(prompts.coarse), compat=prompts.compat
    )
    with torch.inference_mode(), one_thread():
        coarse, fine = (
            prompted.encode(torch.from_numpy(vectors).to(prompted.device)).float().cpu().numpy()
            for vectors in (prompts.coarse, prompts.fine)
        )
    return Tagger(
        labels=tuple(labels), coarse=coarse, fine=fine, temperature=prompts.temperature, clap=clap.fingerprint
    )


def _double(values: FloatArray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float64))
