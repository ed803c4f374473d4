"""Several captions a clip to choose from: how they are found, and which CLAP chooses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sonogloss.audio import WindowPolicy
from sonogloss.errors import OptionError
from sonogloss.transforms.models import CaptionerReference, ClapReference

CANDIDATES = 4
"""Captions to choose among where a judge is named, nothing else is said and the captioner searches with one beam."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """How several captions of a clip are found, and who chooses.

    Attributes:
        beams: numbers of beams to search with one after the other; empty where one search gives all.
        best: captions of that one search, else 0.
        judge: the CLAP that keeps one of them.
    """

    beams: tuple[int, ...]
    best: int
    judge: ClapReference


def check_candidates(candidate_beams: Sequence[int], candidates: int | None, beams: int | None) -> None:
    """Refuse what cannot be asked for together, whatever the captioner.

    Raises:
        OptionError: the options exclude each other, or leave nothing to choose among.
    """
    if candidates is not None and candidates < 2:
        raise OptionError(f"--candidates {candidates} leaves nothing to choose among.", "Give 2 or more.")
    if not candidate_beams:
        return
    if candidates is not None:
        raise OptionError("--candidates and --candidate-beams exclude each other.", "Give one of them.")
    if beams is not None:
        raise OptionError("--beams and --candidate-beams exclude each other.", "Give one of them.")
    if list(candidate_beams) != sorted(set(candidate_beams)) or candidate_beams[0] < 1:
        raise OptionError(
            f"--candidate-beams {list(candidate_beams)} are not ascending numbers of beams.", "Give some like 2-8."
        )


def choose_among(
    captioner: CaptionerReference,
    clap: ClapReference,
    policy: WindowPolicy,
    *,
    candidate_beams: Sequence[int],
    candidates: int | None,
    rerank: str | None,
    beams: int | None,
) -> Choice | None:
    """What the options ask for, and whether captioner and judge can do it; None for one caption a clip.

    Args:
        captioner: writes the captions.
        clap: the job's CLAP, which judges unless another is named.
        policy: the clips' windows, all of which a judge must hear.
        candidate_beams: search with each of these.
        candidates: or take so many captions of one search; by default, where a judge is named, one for each beam of
            the captioner, and :data:`CANDIDATES` where it has one.
        rerank: the name of another judge.
        beams: the number of beams that was asked for, if any.

    Raises:
        InputError: the captioner does not find as many, or the judge cannot be used.
    """
    if not candidate_beams and candidates is None and rerank is None:
        return None
    writer, best = captioner.load(), 0
    nothing = np.zeros((0, writer.clap.dim), np.float32)
    if candidate_beams:  # what a method cannot do it says now, and not at the first clip
        writer.caption(nothing, [], beams=candidate_beams[-1])
    else:
        own = writer.beams or 1
        best = candidates or (own if own > 1 else CANDIDATES)
        writer.candidates(nothing, [], best)
        if beams is not None and beams < best:
            raise OptionError(
                f"A search with --beams {beams} finds {beams} at most, and {best} candidates are wanted.",
                "Ask for more beams, for fewer --candidates, or leave --beams out.",
            )
    return Choice(beams=tuple(candidate_beams), best=best, judge=_judge(rerank, clap, policy))


def _judge(name: str | None, clap: ClapReference, policy: WindowPolicy) -> ClapReference:
    """The CLAP of this name, or the job's own: the same model under another name has heard the sound already."""
    if name is None:
        return clap
    judge = ClapReference.of(name, clap.device)
    if judge.fingerprint == clap.fingerprint:
        return clap
    longest = judge.load().window_s
    if policy.window_s > longest:
        raise OptionError(
            f"--window {policy.window_s:g} is longer than the {longest:g} s that --rerank {name!r} hears at once.",
            f"Give {longest:g} or less, or name another judge.",
        )
    return judge
