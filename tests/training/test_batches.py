"""The order, the parts and the tensors of examples, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.decoding.sequences import AUDIO_SLOT, IGNORED, Example
from sonogloss.training.batches import Examples, by_length, collate, epoch_plan

tokens = st.integers(1, 50)


@st.composite
def examples(draw: st.DrawFn) -> Examples:
    """Sequences of a prompt with audio slots and an answer, each with an embedding that names its row."""
    sequences = []
    for _ in range(draw(st.integers(1, 7))):
        prompt = draw(st.lists(tokens | st.just(AUDIO_SLOT), min_size=1, max_size=6))
        answer = draw(st.lists(tokens, max_size=5))
        sequences.append(Example(ids=[*prompt, *answer], labels=[*[IGNORED] * len(prompt), *answer]))
    embeddings = np.arange(len(sequences), dtype=np.float32)[:, None] * np.ones((1, 3), np.float32)
    return Examples(sequences=sequences, embeddings=embeddings)


@settings(deadline=None)
@given(made=examples())
def test_collated_tensors_say_what_the_sequences_say(made: Examples) -> None:
    batch = collate(made)
    rows, longest = len(made.sequences), max(len(example.ids) for example in made.sequences)
    assert batch.ids.shape == batch.slots.shape == (rows, longest)
    expected: list[tuple[int, int]] = []
    for row, example in enumerate(made.sequences):
        for place in range(longest):
            token = example.ids[place] if place < len(example.ids) else 0
            assert batch.slots[row, place].item() == (token == AUDIO_SLOT)
            assert batch.ids[row, place].item() == (0 if token == AUDIO_SLOT else token)
            following = place + 1
            if following < len(example.ids) and example.labels[following] != IGNORED:
                expected.append((row * longest + place, example.labels[following]))
    assert list(zip(batch.positions.tolist(), batch.targets.tolist(), strict=True)) == expected
    assert made.answers == len(expected)
    assert torch.equal(batch.embeddings, torch.from_numpy(made.embeddings))


@given(made=examples(), parts=st.integers(1, 9))
def test_parts_are_the_whole_in_order_and_of_equal_size(made: Examples, parts: int) -> None:
    cut = [made.part(number, parts) for number in range(parts)]
    assert [example for part in cut for example in part.sequences] == list(made.sequences)
    assert np.array_equal(np.concatenate([part.embeddings for part in cut]), made.embeddings)
    sizes = [len(part.sequences) for part in cut]
    assert max(sizes) - min(sizes) <= 1
    assert sum(part.answers for part in cut) == made.answers


@given(made=examples(), processes=st.integers(1, 3), accumulation=st.integers(1, 3))
def test_parts_of_parts_cover_every_example_once(made: Examples, processes: int, accumulation: int) -> None:
    """What several processes compute in several parts is the batch, neither more nor less."""
    cut = [
        made.part(rank, processes).part(part, accumulation) for rank in range(processes) for part in range(accumulation)
    ]
    assert [example for part in cut for example in part.sequences] == list(made.sequences)


@given(count=st.integers(0, 400), size=st.integers(1, 9), seed=st.integers(0, 99), data=st.data())
def test_an_epoch_has_whole_batches_of_distinct_rows(count: int, size: int, seed: int, data: st.DataObject) -> None:
    captions = count + data.draw(st.integers(0, 50))
    rows = np.sort(np.random.default_rng(seed).permutation(captions)[:count])
    lengths = np.random.default_rng(seed + 1).integers(1, 60, captions)
    plan = epoch_plan(rows, lengths, size, np.random.default_rng(seed))
    assert [len(batch) for batch in plan] == [size] * (count // size)
    used = [int(row) for batch in plan for row in batch]
    assert len(used) == len(set(used))
    assert set(used) <= set(rows.tolist())
    again = epoch_plan(rows, lengths, size, np.random.default_rng(seed))
    assert all(np.array_equal(one, other) for one, other in zip(plan, again, strict=True))


def test_batches_of_an_epoch_have_similar_lengths_in_random_order() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 105, 6400)
    plan = epoch_plan(np.arange(6400), lengths, 32, rng)
    spread = np.mean([np.ptp(lengths[batch]) for batch in plan])
    assert spread < 15  # of 32 random lengths it is above 90
    means = np.array([lengths[batch].mean() for batch in plan])
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.25  # neighbours in time are not neighbours in length


@given(made=examples(), size=st.integers(1, 4))
def test_validation_batches_hold_every_example_once_with_its_embedding(made: Examples, size: int) -> None:
    batches = by_length(made.sequences, made.embeddings, size)
    seen = [
        (int(row[0]), example)
        for batch in batches
        for row, example in zip(batch.embeddings, batch.sequences, strict=True)
    ]
    assert sorted(number for number, _ in seen) == list(range(len(made.sequences)))
    assert all(made.sequences[number] is example for number, example in seen)
    lengths = [len(example.ids) for _, example in seen]
    assert lengths == sorted(lengths)
    assert all(len(batch.sequences) == size for batch in batches[:-1])


def test_a_batch_without_answers_has_no_targets() -> None:
    batch = collate(
        Examples(sequences=[Example(ids=[1, 2], labels=[IGNORED] * 2)], embeddings=np.ones((1, 2), np.float32))
    )
    assert batch.positions.tolist() == []
    with pytest.raises(ValueError, match="empty"):
        collate(Examples(sequences=[], embeddings=np.ones((0, 2), np.float32)))
