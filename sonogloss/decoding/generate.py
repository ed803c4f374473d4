"""Let a language model continue prompts that hold soft vectors: beam search in batches that do not change results.

Prompts of like length are decoded together and padded on the *left*. The released DRCap pads on the right, so that the
first new token of every shorter prompt is predicted from a padding position: captions change with their neighbors.
The common prefix of all prompts is computed once, and a clip leaves its batch when its caption is decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch
from torch import Tensor

from sonogloss.decoding.beam_state import BeamState
from sonogloss.decoding.beams import AverageBeams, Beams, TransformersBeams
from sonogloss.decoding.language_model import LanguageModel
from sonogloss.decoding.repetition import without_repetition
from sonogloss.decoding.sequences import AUDIO_SLOT, fill_slots
from sonogloss.decoding.settings import DecodeSettings
from sonogloss.errors import ModelFormatError, OptionError

_SHORTEST_PREFIX = 4  # tokens: computing a common prefix costs a forward pass of its own
_LEAST_PADDING = 4  # tokens: prompts share a forward pass where none is padded by more, or by more than an eighth

_Found = list[tuple[list[int], float]]  # ids and scores of a clip's continuations, best first


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One continuation.

    Args:
        ids: new ids, without the end-of-text token.
        score: mean log-probability of its tokens, the one that ended it included.
    """

    ids: list[int]
    score: float


def generate(
    language_model: LanguageModel, prompts: Sequence[Sequence[int]], soft: Tensor | None, settings: DecodeSettings
) -> list[list[int]]:
    """The best continuation of every prompt; see :func:`search`.

    Returns:
        New ids only, without the end-of-text token; in the order of the prompts.
    """
    return [found[0].ids for found in search(language_model, prompts, soft, settings)]


@torch.inference_mode()
def search(
    language_model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    soft: Tensor | None,
    settings: DecodeSettings,
    *,
    candidates: int = 1,
) -> list[list[Candidate]]:
    """The best continuations of every prompt.

    A prompt's result is what decoding it alone gives, up to the rounding of matrix products (which differ by about 1e-6
    between batch shapes and matter only where two beams are that close).

    Args:
        language_model: the model and its tokenizer's special ids.
        prompts: n lists of ids, with :data:`~sonogloss.decoding.sequences.AUDIO_SLOT` where soft vectors go.
        soft: [n, slots, width] the vectors; every prompt has that many slots. None where prompts have none.
        settings: of the search.
        candidates: how many continuations of each prompt, up to the number of beams.

    Returns:
        For every prompt, in their order, the continuations, best first. There are fewer than asked for where stop
        strings ended all beams before as many were found.

    Raises:
        OptionError: a prompt is empty or too long for the model, slots and vectors do not match, or there are more
            candidates than beams or more beams than the vocabulary allows.
        ModelFormatError: the model's outputs are NaN, as when weights of 16 bits overflow.
    """
    _check(language_model, prompts, soft, settings, candidates)
    prefix = _common_prefix(prompts)
    state = BeamState(
        language_model.model,
        beams=settings.num_beams,
        longest=max(map(len, prompts), default=0) + settings.max_new_tokens,
        compiled_forward=language_model.compiled_forward,
        max_steps=settings.max_new_tokens,
    )
    if prefix:
        state.prefill([left_padded(language_model, [prefix], None)])
    rests = [prompt[len(prefix) :] for prompt in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    results: list[list[Candidate]] = [[] for _ in prompts]
    for start in range(0, len(order), settings.batch_size):
        rows = order[start : start + settings.batch_size]
        groups = [
            left_padded(language_model, [rests[i] for i in group], None if soft is None else soft[group])
            for group in _length_groups(rows, rests)
        ]
        found = _beam_search(language_model, state.expand(len(rows)), groups, settings, candidates)
        for i, continuations in zip(rows, found, strict=True):
            results[i] = _candidates(continuations, language_model.eos_id)
    return results


def _candidates(continuations: _Found, eos_id: int) -> list[Candidate]:
    """Candidates without the end-of-text token."""
    if not continuations:  # a NaN is never among the best
        raise ModelFormatError(
            "The language model's outputs are not numbers (NaN).",
            "Load it with weights of another kind, such as float32, or restore it.",
        )
    return [Candidate(ids=ids[:-1] if ids[-1] == eos_id else ids, score=score) for ids, score in continuations]


def _beam_search(
    language_model: LanguageModel,
    state: BeamState,
    groups: list[tuple[Tensor, Tensor]],
    settings: DecodeSettings,
    candidates: int,
) -> list[_Found]:
    """The continuations of every clip of a batch."""
    logits = state.prefill(groups)
    clips = len(logits)
    rule: type[Beams] = AverageBeams
    if settings.scoring == "transformers" and settings.num_beams > 1:
        rule = TransformersBeams
    beams = rule(
        clips=clips,
        beams=settings.num_beams,
        longest=settings.max_new_tokens,
        wanted=candidates,
        stop=language_model.stop_criteria(settings.stop),
        device=logits.device,
    )
    results: list[_Found] = [[] for _ in range(clips)]
    rows: list[int | None] = list(range(clips))  # the clip of each row; None when it is done
    while True:
        beams.advance(without_repetition(logits, beams.new_ids, settings.no_repeat_ngram))
        done = beams.done.tolist()
        over = [row for row, clip in enumerate(rows) if clip is not None and done[row]]
        if over:
            for row, found in zip(over, beams.best(over), strict=True):
                clip, rows[row] = rows[row], None
                assert clip is not None
                results[clip] = found
            active = sum(clip is not None for clip in rows)
            if not active:
                return results
            # A compiled model shrinks its batch by powers of two only: few shapes, few compilations.
            compiled = language_model.compiled_forward is not None
            selected = _compacted(rows, 1 << (active - 1).bit_length() if compiled else active)
            if len(selected) < len(rows):
                rows = [rows[row] for row in selected]
                beams.select(selected)
                state.select(selected)
        logits = state.step(beams.tokens, beams.parents)


def _length_groups(rows: Sequence[int], prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Rows, sorted by the lengths of their prompts, in groups that need little padding."""
    groups: list[list[int]] = []
    most = 0
    for i in rows:
        if len(prompts[i]) > most:
            groups.append([])
            most = len(prompts[i]) + max(_LEAST_PADDING, len(prompts[i]) // 8)
        groups[-1].append(i)
    return groups


def _compacted(rows: Sequence[int | None], size: int) -> list[int]:
    """`size` rows to select: all that have a clip. Those before `size` stay in place, the others fill the gaps."""
    if size >= len(rows):
        return list(range(len(rows)))
    behind = [row for row in range(size, len(rows)) if rows[row] is not None]
    return [behind.pop() if rows[row] is None and behind else row for row in range(size)]


def _common_prefix(prompts: Sequence[Sequence[int]]) -> list[int]:
    """The common prefix of all prompts, up to the first audio slot; each prompt keeps at least one token of its own.

    Empty where it is too short to pay.
    """
    if len(prompts) < 2:
        return []
    equal = takewhile(lambda ids: len(set(ids)) == 1 and ids[0] != AUDIO_SLOT, zip(*prompts, strict=False))
    prefix = [ids[0] for ids in equal][: min(map(len, prompts)) - 1]
    return prefix if len(prefix) >= _SHORTEST_PREFIX else []


def left_padded(
    language_model: LanguageModel, prompts: Sequence[Sequence[int]], soft: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Input vectors [b, t, width] and the number of pads of each row [b]."""
    device, longest = language_model.model.device, max(map(len, prompts))
    pads = [longest - len(prompt) for prompt in prompts]
    ids = torch.tensor(
        [[language_model.pad_id] * pad + list(prompt) for pad, prompt in zip(pads, prompts, strict=True)], device=device
    )
    slots = ids == AUDIO_SLOT
    vectors: Tensor = language_model.model.get_input_embeddings()(ids.masked_fill(slots, language_model.pad_id))
    if soft is not None:
        vectors = fill_slots(vectors, slots, soft.to(device))
    return vectors, torch.tensor(pads, device=device)


def _check(
    language_model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    soft: Tensor | None,
    settings: DecodeSettings,
    candidates: int,
) -> None:
    vectors = 0 if soft is None else soft.shape[1]
    for number, prompt in enumerate(prompts):
        if not prompt:
            raise OptionError(f"Prompt {number} is empty.", "Give at least one token to continue.")
        if prompt.count(AUDIO_SLOT) != vectors:
            raise OptionError(
                f"Prompt {number} has {prompt.count(AUDIO_SLOT)} audio slots, the soft prompt {vectors} vectors.",
                "Use a mapper with as many slots as the prompt.",
            )
    if soft is not None and soft.shape != (len(prompts), vectors, language_model.width):
        raise OptionError(
            f"The soft prompts have shape {tuple(soft.shape)}, expected "
            f"{(len(prompts), vectors, language_model.width)}.",
            "Use a mapper that was trained with this language model.",
        )
    longest, limit = max(map(len, prompts), default=0), language_model.max_positions
    if limit is not None and longest + settings.max_new_tokens > limit:
        raise OptionError(
            f"A prompt has {longest} tokens; with {settings.max_new_tokens} new ones that is more than the language "
            f"model's {limit} positions.",
            "Shorten the prompt or ask for fewer new tokens.",
        )
    if not 1 <= candidates <= settings.num_beams:
        raise OptionError(
            f"{candidates} candidates are asked for, but there are {settings.num_beams} beams.",
            "Ask for at most one candidate a beam.",
        )
    if 2 * settings.num_beams > language_model.vocabulary:
        raise OptionError(
            f"num_beams is {settings.num_beams}, but the language model has only {language_model.vocabulary} tokens.",
            "Use fewer beams.",
        )
