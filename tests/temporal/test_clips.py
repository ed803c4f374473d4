"""Labelled clips: what a folder means, what is drawn by hashing, and how splits keep recordings apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sonogloss.errors import ClipError, Code, FormatError, MissingInputError, OptionError
from sonogloss.temporal.clips import (
    LabelledClip,
    hold_out_classes,
    hold_out_sources,
    read_collection,
    read_samples,
    select_folds,
    soundscape_clips,
)

Encode = Callable[..., bytes]


@pytest.fixture
def collection(tmp_path: Path, encode: Encode) -> Path:
    rows = ["filename,class,fold,src_id"]
    for number, (label, fold) in enumerate([("dog", 1), ("dog", 2), ("sea_waves", 1), ("sea_waves", 4)]):
        (tmp_path / f"{number}.wav").write_bytes(encode(np.full(3200, 0.1 * (number + 1)), 16000))
        rows.append(f"{number}.wav,{label},{fold},{number // 2}")
    (tmp_path / "metadata.csv").write_text("\n".join(rows))
    return tmp_path


def test_metadata_names_class_fold_and_source(collection: Path) -> None:
    clips = sorted(read_collection(str(collection), split="train"), key=lambda clip: clip.uri)
    assert [(clip.label, clip.fold, clip.source) for clip in clips] == [
        ("dog", "1", "0"),
        ("dog", "2", "0"),
        ("sea waves", "1", "1"),
        ("sea waves", "4", "1"),
    ]
    assert {clip.label for clip in select_folds(clips, ["4"])} == {"sea waves"}
    with pytest.raises(OptionError, match=r"'7'.*1, 2, 4"):
        select_folds(clips, ["7"])


def test_sub_folders_are_classes(tmp_path: Path, encode: Encode) -> None:
    for label in ("dog", "door_creak"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "a.wav").write_bytes(encode(np.zeros(320), 16000))
        (tmp_path / label / ".hidden").write_text("")
    (tmp_path / "notes.txt").write_text("about these")
    assert sorted(clip.label for clip in read_collection(str(tmp_path), split="train")) == ["dog", "door creak"]


def test_an_id_outlives_a_move_and_a_new_neighbour(collection: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    before = {clip.id for clip in read_collection(str(collection), split="train")}
    moved = tmp_path_factory.mktemp("elsewhere") / "moved"
    collection.rename(moved)
    with (moved / "metadata.csv").open("a") as handle:
        handle.write("\nnew.wav,rain,1,9")
    assert before < {clip.id for clip in read_collection(str(moved), split="train")}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("file,class\na.wav,dog", "no column filename"),
        ("filename,class\na.wav,", "line 2"),
        ("filename,class\na.wav,dog\na.wav,cat", "more than once"),
        ("filename,class\na.wav,dog\nb.wav,dog", "fewer than two classes"),
        ("", "no rows"),
    ],
)
def test_broken_metadata_is_reported_in_one_sentence(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "metadata.csv").write_text(content)
    with pytest.raises(FormatError, match=words):
        read_collection(str(tmp_path), split="train")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="--clips"):
        read_collection(str(tmp_path / "nothing"), split="train")


def test_samples_come_at_the_rate_asked_for_and_no_longer_than_asked_for(collection: Path) -> None:
    clip = next(c for c in read_collection(str(collection), split="train") if c.uri.endswith("3.wav"))
    samples = read_samples(clip, 32000, 0.1)
    assert samples.shape == (3200,)
    assert np.median(samples) == pytest.approx(0.4, abs=1e-3)


def test_a_clip_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    missing = LabelledClip(id="0", uri=str(tmp_path / "gone.wav"), label="dog", source="0")
    with pytest.raises(ClipError) as caught:
        read_samples(missing, 32000, 5)
    assert caught.value.code == Code.READ_ERROR


def test_soundscapes_of_training_and_testing_have_no_sound_in_common() -> None:
    train, test = (read_collection("pocket", split=split, per_class=2) for split in ("train", "test"))
    assert len({clip.label for clip in train}) == 50
    assert not {clip.id for clip in train} & {clip.id for clip in test}
    dogs = [next(clip for clip in clips if clip.label == "dog barking") for clips in (train, test)]
    one, two = (read_samples(clip, 32000, 1.0) for clip in dogs)
    assert len(one) != len(two) or not np.allclose(one, two)
    np.testing.assert_array_equal(one, read_samples(dogs[0], 32000, 1.0))
    assert len(read_samples(dogs[0], 16000, 1.0)) == 16000


def test_held_out_classes_follow_from_names() -> None:
    clips = soundscape_clips(2, split="x")
    rest, out = hold_out_classes(clips, 0.3)
    assert len({clip.label for clip in out}) == 15
    assert not {clip.label for clip in rest} & {clip.label for clip in out}
    assert len(rest) + len(out) == len(clips)
    assert hold_out_classes(clips[::-1], 0.3)[1] == out[::-1]
    assert hold_out_classes(clips, 0.0) == (clips, [])


def test_a_recording_is_on_one_side_only(collection: Path) -> None:
    clips = [LabelledClip(id=f"{number}", uri="", label="dog", source=f"{number // 5}") for number in range(1000)]
    rest, out = hold_out_sources(clips, 0.2)
    assert not {clip.source for clip in rest} & {clip.source for clip in out}
    assert 120 < len(out) < 280
