"""Several captions of a clip: how many are found, and which CLAP chooses one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sonogloss.errors import OptionError
from sonogloss.methods import Captioner
from sonogloss.pipelines.config.captioning import CaptionSettings
from sonogloss.pipelines.running.inputs import check_window
from sonogloss.transforms.models import CaptionerReference, ClapReference

CANDIDATES = 4
"""Candidates of a captioner that searches with one beam, where `--rerank` is all that was asked for."""


@dataclass(frozen=True, kw_only=True)
class Reranking:
    """How several captions of a clip are found and which CLAP chooses.

    Attributes:
        beams: numbers of beams to search with one after the other; empty where one search gives all.
        candidates: captions of that one search, else 0.
        clap: the CLAP that chooses.
    """

    beams: tuple[int, ...]
    candidates: int
    clap: ClapReference


def choose_reranking(config: CaptionSettings, captioner: CaptionerReference, clap: ClapReference) -> Reranking | None:
    """What the options ask for, and whether captioner and CLAP can do it; None for one caption a clip.

    Raises:
        InputError: the captioner does not find as many, or the CLAP cannot be used.
    """
    if not config.candidate_beams and config.candidates is None and config.rerank is None:
        return None
    known = captioner.outline
    own = known.beams or 1
    candidates = 0 if config.candidate_beams else config.candidates or (own if own > 1 else CANDIDATES)
    if isinstance(known, Captioner):  # what a method cannot do is an error now, not at the first clip
        nothing = np.zeros((0, known.clap.dim), np.float32)
        if candidates:
            known.candidates(nothing, [], candidates)
        else:
            known.caption(nothing, [], beams=config.candidate_beams[-1])
    elif known.beams is None:
        raise OptionError(
            f"A {known.method} captioner finds one caption a clip, so there are no candidates to choose among.",
            "Leave candidates and re-ranking out, or name a captioner that searches with beams.",
        )
    if config.beams is not None and config.beams < candidates:
        raise OptionError(
            f"A search with --beams {config.beams} finds {config.beams} captions at most; {candidates} candidates "
            "are wanted.",
            "Give more beams, fewer --candidates, or leave --beams out.",
        )
    return Reranking(beams=tuple(config.candidate_beams), candidates=candidates, clap=_reranker(config, clap))


def _reranker(config: CaptionSettings, clap: ClapReference) -> ClapReference:
    """The CLAP of `--rerank`, or the job's own: the same model under another name has embedded the audio already."""
    if config.rerank is None:
        return clap
    other = ClapReference.of(str(config.rerank), clap.device, look=True)
    if other.fingerprint == clap.fingerprint:
        return clap
    check_window(config.policy, other, option="--rerank")
    return other
