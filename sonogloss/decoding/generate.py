"""Let a language model continue prompts that hold soft vectors: beam search in batches that do not show in results.

Prompts of like length are decoded together and padded on the *left*. The released DRCap pads on the right, so that the
first new token of every shorter prompt is predicted from a padding position: captions change with their neighbours.
What all prompts begin with is read once, and a clip whose caption is decided leaves its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch
from torch import Tensor

from sonogloss.decoding.beams import AverageBeams, Beams, TransformersBeams
from sonogloss.decoding.stop_criteria import Endings
from sonogloss.decoding.language_model import LanguageModel
from sonogloss.decoding.beam_state import Reading
from sonogloss.decoding.sequences import AUDIO_SLOT, fill_slots
from sonogloss.decoding.settings import DecodeSettings
from sonogloss.errors import ModelFormatError, OptionError

_WORTH_SHARING = 4  # tokens: reading them apart costs a pass through the model
_FEW = 4  # tokens: prompts are read in one pass where none is padded by more, or by more than an eighth


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A continuation that was found.

    Args:
        ids: new ids, without the end-of-text token.
        score: mean log-probability of its tokens, its end included.
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
        OptionError: a prompt is empty or leaves the model no room, slots and vectors do not match, or more candidates
            or beams are wanted than there can be.
        ModelFormatError: the model's answers are not numbers, as when weights of 16 bits overflow.
    """
    _check(language_model, prompts, soft, settings, candidates)
    ends = language_model.endings(settings.stop)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    prefix = _shared(prompts)
    longest = max(map(len, prompts), default=0) + settings.max_new_tokens
    begun = Reading(
        language_model.model,
        beams=settings.num_beams,
        longest=longest,
        step=language_model.step,
        steps=settings.max_new_tokens,
    )
    if prefix:
        begun.read([_left_padded(language_model, [prefix], None)])
    rests = [prompt[len(prefix) :] for prompt in prompts]
    results: list[list[Candidate]] = [[] for _ in prompts]
    for start in range(0, len(order), settings.batch_size):
        rows = order[start : start + settings.batch_size]
        groups = [
            _left_padded(language_model, [rests[i] for i in group], None if soft is None else soft[group])
            for group in _alike(rows, rests)
        ]
        found = _continue(begun.copies(len(rows)), groups, ends, settings, candidates, language_model.step is not None)
        for i, continuations in zip(rows, found, strict=True):
            if not continuations:
                raise ModelFormatError(
                    "The language model answers with what is not a number (NaN).",
                    "Load it with weights of another kind, such as float32, or restore it.",
                )
            results[i] = [
                Candidate(ids=ids[:-1] if ids[-1] == language_model.eos_id else ids, score=score)
                for ids, score in continuations
            ]
    return results


def _continue(
    reading: Reading,
    groups: list[tuple[Tensor, Tensor]],
    ends: Endings,
    settings: DecodeSettings,
    candidates: int,
    halving: bool,
) -> list[list[tuple[list[int], float]]]:
    """Ids and scores of the continuations of every clip of a batch; `halving` lets clips leave by halves of it only."""
    logits = reading.read(groups)
    clips = len(logits)
    rule: type[Beams] = AverageBeams
    if settings.scoring == "transformers" and settings.num_beams > 1:
        rule = TransformersBeams
    beams = rule(
        clips=clips,
        beams=settings.num_beams,
        longest=settings.max_new_tokens,
        wanted=candidates,
        ends=ends,
        device=logits.device,
    )
    results: list[list[tuple[list[int], float]]] = [[] for _ in range(clips)]
    rows: list[int | None] = list(range(clips))  # which clip stands in which row; none when it is done
    while True:
        beams.advance(logits)
        done = beams.done.tolist()
        over = [row for row, clip in enumerate(rows) if clip is not None and done[row]]
        if over:
            for row, found in zip(over, beams.best(over), strict=True):
                clip, rows[row] = rows[row], None
                assert clip is not None
                results[clip] = found
            going = sum(clip is not None for clip in rows)
            if not going:
                return results
            stay = _closed_up(rows, 1 << (going - 1).bit_length() if halving else going)
            if len(stay) < len(rows):
                rows = [rows[row] for row in stay]
                beams.keep(stay)
                reading.keep(stay)
        logits = reading.say(beams.tokens, beams.parents)


def _alike(rows: Sequence[int], prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Rows, which are sorted by the lengths of their prompts, in groups that hardly need padding."""
    groups: list[list[int]] = []
    most = 0
    for i in rows:
        if len(prompts[i]) > most:
            groups.append([])
            most = len(prompts[i]) + max(_FEW, len(prompts[i]) // 8)
        groups[-1].append(i)
    return groups


def _closed_up(rows: Sequence[int | None], size: int) -> list[int]:
    """`size` rows that stay: all that have a clip, where they are if they can be; those behind fill what is free."""
    if size >= len(rows):
        return list(range(len(rows)))
    behind = [row for row in range(size, len(rows)) if rows[row] is not None]
    return [behind.pop() if rows[row] is None and behind else row for row in range(size)]


def _shared(prompts: Sequence[Sequence[int]]) -> list[int]:
    """What all prompts begin with, up to the first slot, where reading it apart pays; some is left to each."""
    if len(prompts) < 2:
        return []
    alike = takewhile(lambda ids: len(set(ids)) == 1 and ids[0] != AUDIO_SLOT, zip(*prompts, strict=False))
    prefix = [ids[0] for ids in alike][: min(map(len, prompts)) - 1]
    return prefix if len(prefix) >= _WORTH_SHARING else []


def _left_padded(
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
            f"{candidates} candidates are wanted of {settings.num_beams} beams.", "Ask for at most one for each beam."
        )
    if 2 * settings.num_beams > language_model.vocabulary:
        raise OptionError(
            f"num_beams is {settings.num_beams}, but the language model has only {language_model.vocabulary} tokens.",
            "Use fewer beams.",
        )
