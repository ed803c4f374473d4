"""Two rules of beam search, for all clips of a batch at once and without a model: logits in, the next tokens out.

Both keep arrays [clips, beams, ...], best beam first. Both stop a clip as soon as its result is decided:
log-probabilities are negative, so an unfinished caption with sum s ends with a mean of at most s / (longest caption).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from sonogloss.decoding.stop_criteria import StopCriteria

_NEVER = -torch.inf


class Beams(ABC):
    """The beams of a batch of clips.

    Args:
        clips: how many.
        beams: for each clip.
        longest: tokens of the longest caption.
        wanted: captions wanted of each clip; the search may end when these are decided.
        stop: tells which captions are finished.
        device: where the logits come from.

    Attributes:
        tokens: [clips, beams] the last token of every beam.
        parents: [clips, beams] which beam of the step before each of them continues.
        done: [clips] is the result decided?
    """

    _own_arrays: ClassVar[tuple[str, ...]]
    """Names of a rule's own arrays with a row for each clip."""

    def __init__(
        self, *, clips: int, beams: int, longest: int, wanted: int, stop: StopCriteria, device: torch.device
    ) -> None:
        self._beams, self._longest, self._wanted, self._stop = beams, longest, wanted, stop
        self._length = 0  # tokens of the unfinished beams
        self._sums = torch.zeros(clips, 1, device=device)  # one beam, the prompt, until the first step
        self._ids = torch.zeros(clips, 1, longest, dtype=torch.int64, device=device)
        self.tokens = torch.zeros(clips, beams, dtype=torch.int64, device=device)
        self.parents = torch.zeros_like(self.tokens)
        self.done = torch.zeros(clips, dtype=torch.bool, device=device)
        self._make_own_arrays(clips, device)

    @abstractmethod
    def _make_own_arrays(self, clips: int, device: torch.device) -> None:
        """Make the arrays of `_own_arrays`."""

    @property
    def new_ids(self) -> Tensor:
        """[clips, beams, t] the tokens of every beam so far."""
        return self._ids[:, :, : self._length]

    @abstractmethod
    def advance(self, logits: Tensor) -> None:
        """Choose the next tokens by logits [clips, beams, vocabulary]; at first [clips, 1, vocabulary]."""

    @abstractmethod
    def _ranked(self) -> tuple[Tensor, Tensor, Tensor]:
        """Captions as ids [clips, beams, t], their lengths and their scores [clips, beams], best first."""

    def best(self, rows: Sequence[int]) -> list[list[tuple[list[int], float]]]:
        """The captions wanted of these clips as ids and scores, best first; fewer where fewer were found."""
        index = torch.tensor(rows, device=self.done.device)
        ids, lengths, scores = (array.index_select(0, index)[:, : self._wanted].tolist() for array in self._ranked())
        return [
            [(tokens[:length], score) for tokens, length, score in zip(*clip, strict=True) if score > _NEVER]
            for clip in zip(ids, lengths, scores, strict=True)
        ]

    def select(self, rows: Sequence[int]) -> None:
        """Continue with these clips only, in this order."""
        index = torch.tensor(rows, device=self.done.device)
        for name in ("tokens", "parents", "done", "_sums", "_ids", *self._own_arrays):
            setattr(self, name, getattr(self, name).index_select(0, index))

    def _extended(self, parents: Tensor, tokens: Tensor) -> Tensor:
        """The captions of these parents with one more token."""
        ids = _of_beams(self._ids, parents)
        ids[:, :, self._length] = tokens
        return ids

    def _bound(self, sums: Tensor) -> Tensor:
        """[clips] the best mean that unfinished captions with these sums [clips, beams] can still reach."""
        return sums.max(1).values / self._longest


class TransformersBeams(Beams):
    """What `generate` of transformers 5 does with `early_stopping=False` and `length_penalty=1`.

    Of the 2n best continuations the n best unfinished ones go on. Finished ones among the n best are set aside with
    their sum divided by their number of tokens. A clip is done when n captions are set aside and the best unfinished
    one, divided by its present length, is not better than the last of them.
    """

    _own_arrays = ("_final_scores", "_final_lengths", "_final_ids")

    def _make_own_arrays(self, clips: int, device: torch.device) -> None:
        self._final_scores = torch.full((clips, self._beams), _NEVER, device=device)
        self._final_lengths = torch.zeros(clips, self._beams, dtype=torch.int64, device=device)
        self._final_ids = torch.zeros(clips, self._beams, self._longest, dtype=torch.int64, device=device)

    def advance(self, logits: Tensor) -> None:
        """One step; see :meth:`Beams.advance`."""
        n = self._beams
        log_probs, tokens = _top_tokens(logits, 2 * n)
        width = log_probs.shape[-1]
        sums, chosen = (self._sums[:, :, None] + log_probs).flatten(1).topk(min(2 * n, log_probs[0].numel()))
        parents, tokens = chosen // width, tokens.flatten(1).gather(1, chosen)
        ids = self._extended(parents, tokens)
        self._length += 1
        ended = self._stop(ids[:, :, : self._length], logits.shape[-1]) | (self._length == self._longest)
        if ended[:, :n].any():
            means = torch.where(ended, sums / self._length, _NEVER)[:, :n]
            self._final_scores, order = torch.cat([self._final_scores, means], 1).topk(n)
            lengths = torch.full_like(tokens[:, :n], self._length)
            self._final_lengths = torch.cat([self._final_lengths, lengths], 1).gather(1, order)
            self._final_ids = _of_beams(torch.cat([self._final_ids, ids[:, :n]], 1), order)
        self._sums, order = sums.masked_fill(ended, _NEVER).topk(n)
        self.tokens, self.parents = tokens.gather(1, order), parents.gather(1, order)
        self._ids = _of_beams(ids, order)
        best = self._sums[:, 0]
        self.done = (
            (best / self._length <= self._final_scores[:, -1])
            | (self._bound(self._sums) < self._final_scores[:, self._wanted - 1])
            | (self._length == self._longest)
        )

    def _ranked(self) -> tuple[Tensor, Tensor, Tensor]:
        return self._final_ids, self._final_lengths, self._final_scores


class AverageBeams(Beams):
    """ClipCap's rule, also that of soft and hard prompts: the n best means of log-probabilities go on, finished or not.

    The first step takes the n best tokens. A finished caption stays as it is, with its sum and its length (its last
    token included), as long as it is among the n best. With one beam this is greedy search.
    """

    _own_arrays = ("_lengths", "_finished", "_means")

    def _make_own_arrays(self, clips: int, device: torch.device) -> None:
        self._lengths = torch.zeros(clips, 1, dtype=torch.int64, device=device)
        self._finished = torch.zeros(clips, 1, dtype=torch.bool, device=device)
        self._means = torch.zeros(clips, 1, device=device)

    def advance(self, logits: Tensor) -> None:
        """One step; see :meth:`Beams.advance`."""
        log_probs, tokens = _top_tokens(logits, self._beams)
        width = log_probs.shape[-1]
        unchanged = torch.full((width,), _NEVER, device=logits.device)  # a finished caption's only continuation
        unchanged[0] = 0.0
        log_probs = torch.where(self._finished[:, :, None], unchanged, log_probs)
        lengths = self._lengths + ~self._finished
        means = (self._sums[:, :, None] + log_probs) / lengths[:, :, None]
        self._means, chosen = means.flatten(1).topk(self._beams)
        self.parents = chosen // width
        self.tokens = tokens.flatten(1).gather(1, chosen)
        self._lengths = lengths.gather(1, self.parents)
        self._sums = self._means * self._lengths
        self._ids = self._extended(self.parents, self.tokens)
        self._length += 1
        ended = self._stop(self._ids[:, :, : self._length], logits.shape[-1])
        self._finished = self._finished.gather(1, self.parents) | ended
        final = self._means.masked_fill(~self._finished, _NEVER).topk(self._wanted).values[:, -1]
        unfinished = self._sums.masked_fill(self._finished, _NEVER)
        self.done = self._finished.all(1) | (self._bound(unfinished) < final) | (self._length == self._longest)

    def _ranked(self) -> tuple[Tensor, Tensor, Tensor]:
        return self._ids, self._lengths, self._means


def _top_tokens(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Log-probabilities and ids of the best next tokens of every beam, [clips, beams, min(count, vocabulary)]."""
    log_probs, ids = logits.float().log_softmax(-1).topk(min(count, logits.shape[-1]))
    return log_probs, ids


def _of_beams(ids: Tensor, beams: Tensor) -> Tensor:
    """A copy of the captions [clips, beams, t] of these beams [clips, k]."""
    return ids.gather(1, beams[:, :, None].expand(-1, -1, ids.shape[-1]))
