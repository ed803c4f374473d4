"""Prompt tuning on a tiny CLAP: it learns, it resumes, and its prompts are saved, loaded and refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sonogloss.bridge import add_noise
from sonogloss.clap import Clap
from sonogloss.clap.prompted_text import PromptedLabels
from sonogloss.errors import FingerprintMismatchError, MissingInputError, ModelFormatError, OptionError
from sonogloss.tagging.config import TuningConfig
from sonogloss.tagging.features import TextFeatures, split
from sonogloss.tagging.label_prompts import LabelPrompts, load_label_prompts, save_label_prompts
from sonogloss.tagging.tagger import plain_tagger, prompted_tagger
from sonogloss.tagging.texts import LabelledTexts, name_only_texts
from sonogloss.tagging.tune import tune_labels

LABELS = ("dog", "rain", "a_man speaking")
CONFIG = TuningConfig(slots=4, epochs=3, batch_size=8, learning_rate=0.02)


@pytest.fixture(scope="module")
def texts() -> LabelledTexts:
    return name_only_texts(LABELS, per_label=20)


def run(
    clap: Clap, texts: LabelledTexts, directory: Path, config: TuningConfig = CONFIG, **options: bool
) -> LabelPrompts:
    return tune_labels(
        clap=clap, texts=texts, config=config, directory=str(directory), log=lambda line: None, **options
    )


def curve(directory: Path) -> list[dict[str, float]]:
    head, *rows = (directory / "curve.csv").read_text().splitlines()
    return [dict(zip(head.split(","), map(float, row.split(",")), strict=True)) for row in rows]


@pytest.mark.parametrize("multi_label", [False, True])
def test_it_learns_from_text_alone(tiny_clap: Clap, tmp_path: Path, multi_label: bool) -> None:
    texts = name_only_texts(LABELS, per_label=20, multi_label=multi_label)
    prompts = run(tiny_clap, texts, tmp_path, replace(CONFIG, multi_label=multi_label, epochs=6))
    rows = curve(tmp_path)
    assert len(rows) == 6
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert prompts.training["held_out_loss"] == pytest.approx(min(row["held_out_loss"] for row in rows), abs=1e-6)
    assert prompts.training["texts"] + prompts.training["held_out_texts"] == 60
    assert prompts.coarse.shape == prompts.fine.shape == (4, 32)
    assert prompts.multi_label == multi_label


def test_the_same_seed_gives_the_same_prompts_and_another_another(
    tiny_clap: Clap, texts: LabelledTexts, tmp_path: Path
) -> None:
    one, two = run(tiny_clap, texts, tmp_path / "a"), run(tiny_clap, texts, tmp_path / "b")
    assert np.array_equal(one.coarse, two.coarse)
    assert one.fingerprint == two.fingerprint
    other = run(tiny_clap, texts, tmp_path / "c", replace(CONFIG, seed=1))
    assert one.fingerprint != other.fingerprint


def test_prompts_remember_that_they_were_learned_as_the_released_code_does(
    tiny_clap: Clap, texts: LabelledTexts, tmp_path: Path
) -> None:
    ours, prompts = (
        run(tiny_clap, texts, tmp_path / "a"),
        run(tiny_clap, texts, tmp_path / "b", replace(CONFIG, compat=True)),
    )
    assert not np.allclose(ours.coarse, prompts.coarse)
    assert "compat" not in ours.training["config"]  # as in records of before
    save_label_prompts(prompts, str(tmp_path / "b"), options={})
    loaded = load_label_prompts(str(tmp_path / "b"))
    assert loaded.compat
    assert loaded.fingerprint == prompts.fingerprint != replace(prompts, compat=False).fingerprint
    with_it, without = (prompted_tagger(LABELS, tiny_clap, each) for each in (loaded, replace(loaded, compat=False)))
    assert np.abs(with_it.coarse - without.coarse).max() > 1e-3
    vectors = torch.from_numpy(prompts.coarse)
    words = [label.replace("_", " ") for label in LABELS]
    again = PromptedLabels(tiny_clap, words, 4, compat=True).encode(vectors).detach().numpy()
    assert np.abs(with_it.coarse - again).max() < 1e-5


@pytest.mark.parametrize("stop", [1, 2])
@pytest.mark.parametrize("words", [(), ("whale", "thunder")])
def test_a_run_stopped_after_any_epoch_ends_with_the_same_bits(
    tiny_clap: Clap, texts: LabelledTexts, tmp_path: Path, stop: int, words: tuple[str, ...]
) -> None:
    """With noise and with other words: both are functions of the step."""
    texts = replace(texts, other_words=words)
    whole = run(tiny_clap, texts, tmp_path / "whole")
    run(tiny_clap, texts, tmp_path / "parts", replace(CONFIG, epochs=stop))
    assert len(curve(tmp_path / "parts")) == stop
    parts = run(tiny_clap, texts, tmp_path / "parts", resume=True)
    assert np.array_equal(whole.coarse, parts.coarse)
    assert np.array_equal(whole.fine, parts.fine)
    assert (tmp_path / "parts/curve.csv").read_text() == (tmp_path / "whole/curve.csv").read_text()
    records = [{**prompts.training, "seconds": 0} for prompts in (whole, parts)]
    assert records[0] == records[1]


def test_a_kill_within_an_epoch_costs_that_epoch_only(
    tiny_clap: Clap, texts: LabelledTexts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(tiny_clap, texts, tmp_path / "whole")
    computed, calls = TextFeatures.loss, iter(range(12))  # an epoch has seven steps and a validation

    def killed(self: TextFeatures, *args: Any, **options: Any) -> Any:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return computed(self, *args, **options)

    monkeypatch.setattr(TextFeatures, "loss", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tiny_clap, texts, tmp_path / "cut")
    monkeypatch.undo()
    lines: list[str] = []
    again = tune_labels(
        clap=tiny_clap, texts=texts, config=CONFIG, directory=str(tmp_path / "cut"), resume=True, log=lines.append
    )
    assert "resuming after step 7" in lines
    assert again.fingerprint == whole.fingerprint


def test_the_kept_prompts_are_those_of_the_best_epoch(tiny_clap: Clap, texts: LabelledTexts, tmp_path: Path) -> None:
    """A learning rate that overshoots: the last epoch is not the best, and the prompts are not the last ones."""
    config = replace(CONFIG, epochs=4, learning_rate=0.4)
    prompts = run(tiny_clap, texts, tmp_path / "all", config)
    rows = curve(tmp_path / "all")
    best = min(rows, key=lambda row: row["held_out_loss"])
    assert prompts.training["best_step"] == best["step"]
    until_best = run(tiny_clap, texts, tmp_path / "best", replace(config, epochs=int(best["epoch"])))
    assert until_best.fingerprint == prompts.fingerprint


def test_the_held_out_numbers_are_those_of_the_kept_prompts(
    tiny_clap: Clap, texts: LabelledTexts, tmp_path: Path
) -> None:
    """Loss and accuracy of the curve, computed again from the prompts alone."""
    prompts = run(tiny_clap, texts, tmp_path)
    features, (_, held_out) = TextFeatures.of(texts, tiny_clap), split(texts, CONFIG)
    labels = PromptedLabels(tiny_clap, [label.replace("_", " ") for label in LABELS], CONFIG.slots)
    with torch.no_grad():
        encoded = labels.encode(torch.from_numpy(prompts.coarse)), labels.encode(torch.from_numpy(prompts.fine))
        loss, scores = features.loss(held_out, encoded, CONFIG, 1 / tiny_clap.temperature)
    assert prompts.training["held_out_loss"] == pytest.approx(loss.item(), rel=1e-5)
    right = np.mean([features.truth[row, best] for row, best in zip(held_out, scores.argmax(1).tolist(), strict=True)])
    best_row = next(row for row in curve(tmp_path) if row["step"] == prompts.training["best_step"])
    assert best_row["held_out_accuracy"] == pytest.approx(right, abs=1e-4)


def test_a_loss_that_is_not_finite_stops_the_run(
    tiny_clap: Clap, texts: LabelledTexts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed, calls = TextFeatures.loss, iter(range(100))

    def broken(self: TextFeatures, *args: Any, **options: Any) -> Any:
        loss, scores = computed(self, *args, **options)
        return (loss * float("inf") if next(calls) == 9 else loss), scores

    monkeypatch.setattr(TextFeatures, "loss", broken)
    with pytest.raises(OptionError, match=r"no longer finite at step 9; .*Lower the learning rate"):
        run(tiny_clap, texts, tmp_path)
    assert [row["step"] for row in curve(tmp_path)] == [7]


def test_the_clap_stays_as_it_is(tiny_clap: Clap, texts: LabelledTexts, tmp_path: Path) -> None:
    before = tiny_clap.embed_text(["a dog barks"])
    run(tiny_clap, texts, tmp_path, replace(CONFIG, epochs=1))
    assert np.array_equal(tiny_clap.embed_text(["a dog barks"]), before)


def test_another_run_does_not_resume_from_it(tiny_clap: Clap, texts: LabelledTexts, tmp_path: Path) -> None:
    run(tiny_clap, texts, tmp_path, replace(CONFIG, epochs=1))
    with pytest.raises(OptionError, match="other settings"):
        run(tiny_clap, texts, tmp_path, replace(CONFIG, slots=5), resume=True)


def test_other_words_are_kept_where_they_are(tiny_clap: Clap, texts: LabelledTexts, tmp_path: Path) -> None:
    words = ("whale", "thunder", "piano", "wind")
    plain = plain_tagger(words, tiny_clap).coarse
    texts = replace(texts, other_words=words)

    def moved(prompts: LabelPrompts) -> float:
        return 1 - float((prompted_tagger(words, tiny_clap, prompts).coarse * plain).sum(axis=1).mean())

    kept = moved(run(tiny_clap, texts, tmp_path / "kept", replace(CONFIG, keep=50.0)))
    free = moved(run(tiny_clap, texts, tmp_path / "free", replace(CONFIG, keep=0.0)))
    assert kept < 0.5 * free


def test_steps_may_end_within_an_epoch(tiny_clap: Clap, texts: LabelledTexts, tmp_path: Path) -> None:
    prompts = run(tiny_clap, texts, tmp_path, replace(CONFIG, steps=9))
    assert [row["step"] for row in curve(tmp_path)] == [7, 9]
    assert prompts.training["steps"] == 9


def test_prompts_may_begin_with_words(tiny_clap: Clap, texts: LabelledTexts, tmp_path: Path) -> None:
    from sonogloss.clap.prompted_text import word_embeddings

    words = word_embeddings(tiny_clap, "the sound of")
    config = replace(CONFIG, slots=len(words), initial="the sound of", learning_rate=1e-12, weight_decay=0.0)
    prompts = run(tiny_clap, texts, tmp_path, config)
    assert np.allclose(prompts.coarse, words.numpy(), atol=1e-6)


@pytest.mark.parametrize("dim", [32, 1024])
@pytest.mark.parametrize("cosine", [0.85, 1.0])
def test_noise_leaves_the_cosine_it_is_named_by(dim: int, cosine: float) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((400, dim)).astype(np.float32)
    std = TuningConfig(noise_cosine=cosine).noise_std(dim)
    noisy = add_noise(vectors, rng.standard_normal((400, dim)).astype(np.float32), std=std)
    clean = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert (clean * noisy).sum(axis=1).mean() == pytest.approx(cosine, abs=0.01)


def test_too_few_texts_are_refused(tiny_clap: Clap, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="too few"):
        run(tiny_clap, name_only_texts(LABELS, per_label=1), tmp_path)


@pytest.mark.parametrize("bad", [{"slots": 0}, {"held_out": 1.0}, {"learning_rate": float("nan")}, {"steps": 0}])
def test_numbers_that_mean_nothing_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=next(iter(bad))):
        TuningConfig(**bad)  # type: ignore[arg-type]


@pytest.fixture
def kept(tiny_clap: Clap, tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    prompts = LabelPrompts(
        coarse=rng.standard_normal((4, 32)).astype(np.float32),
        fine=rng.standard_normal((4, 32)).astype(np.float32),
        clap=tiny_clap.name,
        clap_fingerprint=tiny_clap.fingerprint,
        labels=LABELS,
        training={"texts": 7},
    )
    save_label_prompts(prompts, str(tmp_path / "prompts"), options={"seed": 1})
    return tmp_path / "prompts"


def test_prompts_come_back_as_they_were_kept(kept: Path) -> None:
    prompts = load_label_prompts(str(kept))
    assert prompts.labels == LABELS
    assert prompts.training == {"texts": 7}
    assert prompts.fingerprint == load_label_prompts(str(kept)).fingerprint
    assert json.loads((kept / "prompts.json").read_text())["options"] == {"seed": 1}


def test_damaged_prompts_are_reported(kept: Path) -> None:
    with pytest.raises(MissingInputError, match=r"prompts\.json"):
        load_label_prompts(str(kept.parent))
    weights = (kept / "prompts.safetensors").read_bytes()
    (kept / "prompts.safetensors").write_bytes(weights[:-4] + b"\0\0\0\1")
    with pytest.raises(ModelFormatError, match="another sha256"):
        load_label_prompts(str(kept))
    (kept / "prompts.safetensors").unlink()
    with pytest.raises(ModelFormatError, match="missing"):
        load_label_prompts(str(kept))
    manifest = json.loads((kept / "prompts.json").read_text())
    (kept / "prompts.json").write_text(json.dumps(manifest | {"format_version": 2}))
    with pytest.raises(ModelFormatError, match="format_version 2"):
        load_label_prompts(str(kept))
    (kept / "prompts.json").write_text("[]")
    with pytest.raises(ModelFormatError, match="does not describe"):
        load_label_prompts(str(kept))


def test_prompts_of_another_clap_are_refused(tiny_clap: Clap, kept: Path) -> None:
    prompts = replace(load_label_prompts(str(kept)), clap_fingerprint="0" * 64)
    with pytest.raises(FingerprintMismatchError, match="another one"):
        prompted_tagger(LABELS, tiny_clap, prompts)


def test_names_may_be_swapped(tiny_clap: Clap, kept: Path) -> None:
    """A label's embedding depends on its name and the prompts, not on the labels they were learned with."""
    prompts = load_label_prompts(str(kept))
    one = prompted_tagger(["a cat", "dog"], tiny_clap, prompts)
    other = prompted_tagger(["dog"], tiny_clap, prompts)
    assert np.allclose(one.coarse[1], other.coarse[0], atol=1e-6)
    assert one.fine is not None
    assert other.fine is not None
    assert np.allclose(one.fine[1], other.fine[0], atol=1e-6)


def test_a_plain_tagger_averages_its_templates(tiny_clap: Clap) -> None:
    tagger = plain_tagger(["sea_waves", "dog"], tiny_clap, ["{label}", "the sound of {label}"])
    texts = tiny_clap.embed_text(["sea waves", "the sound of sea waves"])
    mean = texts.sum(axis=0) / np.linalg.norm(texts.sum(axis=0))
    assert np.allclose(tagger.coarse[0], mean, atol=1e-6)
    assert tagger.labels == ("sea_waves", "dog")
    assert not tagger.needs_frames
    with pytest.raises(OptionError, match="template"):
        plain_tagger(["dog"], tiny_clap, ["no place for a name"])


def test_scores_are_means_of_both_and_a_row_does_not_depend_on_the_others(tiny_clap: Clap, kept: Path) -> None:
    tagger = prompted_tagger(LABELS, tiny_clap, load_label_prompts(str(kept)))
    rng = np.random.default_rng(1)
    clips, frames = rng.standard_normal((5, 32)), rng.standard_normal((5, 7, 32))
    clips, frames = clips.astype(np.float32), frames.astype(np.float32)
    scores = tagger.scores(clips, frames)
    assert scores.dtype == np.float32
    assert np.array_equal(scores[2:3], tagger.scores(clips[2:3], frames[2:3]))
    coarse = replace(tagger, fine=None).scores(clips)
    assert np.abs(scores).max() <= 1
    assert not np.allclose(scores, coarse)
    with pytest.raises(ValueError, match="frames"):
        tagger.scores(clips)


def test_a_tagger_s_fingerprint_depends_on_labels_and_their_order(tiny_clap: Clap) -> None:
    one = plain_tagger(["dog", "rain"], tiny_clap)
    assert one.fingerprint == plain_tagger(["dog", "rain"], tiny_clap).fingerprint
    assert one.fingerprint != plain_tagger(["rain", "dog"], tiny_clap).fingerprint
    assert one.fingerprint != plain_tagger(["dog", "rain"], tiny_clap, ["{label}"]).fingerprint
