"""`caption --rerank`: another CLAP chooses among several captions of a clip."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import soundfile
import torch

from sonogloss.clap import Clap, load_clap
from sonogloss.clap.backend import clap_directory
from sonogloss.clap.transformers_clap import TransformersClap
from sonogloss.methods import load_captioner
from sonogloss.records import FloatArray
from sonogloss.soundscapes.scenes import render_scene, sample_scene

from .conftest import Run, assert_one_line

Caption = Callable[..., list[object]]

SHORT = 2  # seconds


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory, write_clap: Callable[..., None]) -> Path:
    """Another tiny CLAP, of another rate."""
    directory = tmp_path_factory.mktemp("judge")
    write_clap(directory, seed=5, sample_rate=48000)
    return directory


@pytest.fixture
def caption(recordings: Path, store: Path, captioner: Path) -> Caption:
    def _caption(output: Path, *options: object) -> list[object]:
        common = ["caption", "--audio", recordings, "--datastore", store, "--captioner", captioner]
        return [*common, "--max-dead-letters", "0.2", "--output", output, *options]

    return _caption


def rows(output: Path) -> list[dict[str, Any]]:
    found = [row for path in output.glob("captions/*.parquet") for row in pq.read_table(path).to_pylist()]
    return sorted(found, key=lambda row: (row["uri"], row["start_s"]))


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """Recordings, their candidates by the pocket captioner of soft and hard prompts, and a judge of these."""

    audio: Path
    judge: Path
    embedded: FloatArray
    heard: FloatArray
    candidates: list[tuple[str, ...]]

    def command(self, output: Path, *options: object) -> list[object]:
        common = ["caption", "--audio", self.audio, "--captioner", "pocket:soft-hard", "--max-dead-letters", "0.2"]
        return [*common, "--output", output, "--candidates", 5, *options]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Scenes:
    """Six scenes, the third a short one; the judge is the pocket CLAP with noise on its projections."""
    folder = tmp_path_factory.mktemp("scenes")
    clap, judge = load_clap("pocket"), folder / "judge"
    with clap_directory("pocket") as directory:
        shutil.copytree(directory, judge)
    weights = safetensors.torch.load_file(judge / "model.safetensors")
    noise = torch.Generator().manual_seed(1)
    for name, tensor in weights.items():
        if "projection" in name:
            weights[name] = tensor + 0.3 * torch.randn(tensor.shape, generator=noise).to(tensor.dtype)
    safetensors.torch.save_file(weights, judge / "model.safetensors", metadata={"format": "pt"})
    sounds = [render_scene(sample_scene(number))[: 10 * clap.sample_rate] for number in range(6)]
    sounds[2] = sounds[2][: SHORT * clap.sample_rate]
    (folder / "audio").mkdir()
    for number, sound in enumerate(sounds):
        soundfile.write(folder / "audio" / f"{number}.wav", sound, clap.sample_rate, subtype="FLOAT")
    embedded = clap.embed_audio(sounds)
    return Scenes(
        audio=folder / "audio",
        judge=judge,
        embedded=embedded,
        heard=load_clap(str(judge)).embed_audio(sounds),
        candidates=load_captioner("pocket:soft-hard").candidates(embedded, [()] * len(sounds), 5),
    )


def best(clap: Clap, sounds: FloatArray, candidates: Sequence[Sequence[str]]) -> list[str]:
    """The nearest text to each sound."""
    return [
        texts[int((clap.embed_text(texts) @ sound).argmax())] for sound, texts in zip(sounds, candidates, strict=True)
    ]


def test_the_caption_is_the_judges_and_the_score_the_jobs_own(run: Run, scenes: Scenes, tmp_path: Path) -> None:
    done = run(*scenes.command(tmp_path, "--rerank", scenes.judge))
    assert done.code == 0, done.err
    clap, judge = load_clap("pocket"), load_clap(str(scenes.judge))
    expected = best(judge, scenes.heard, scenes.candidates)
    found = rows(tmp_path)
    assert [row["caption"] for row in found] == expected
    assert expected != [texts[0] for texts in scenes.candidates]
    assert expected != best(clap, scenes.embedded, scenes.candidates)
    scores = np.sum(clap.embed_text(expected) * scenes.embedded, axis=1)
    assert [row["clap_score"] for row in found] == pytest.approx(scores, abs=1e-5)
    described = json.loads((tmp_path / "run.json").read_text())
    assert described["fingerprints"]["rerank"] == judge.fingerprint
    assert {"rerank_audio", "rerank"} <= set(described["stage_times_s"])
    assert run("verify", tmp_path).code == 0


def test_without_a_judge_the_jobs_own_clap_chooses(run: Run, scenes: Scenes, tmp_path: Path) -> None:
    assert run(*scenes.command(tmp_path / "out")).code == 0
    expected = best(load_clap("pocket"), scenes.embedded, scenes.candidates)
    assert [row["caption"] for row in rows(tmp_path / "out")] == expected
    described = json.loads((tmp_path / "out" / "run.json").read_text())
    assert described["fingerprints"]["rerank"] == described["fingerprints"]["clap"]
    assert "rerank_audio" not in described["stage_times_s"]
    # The same CLAP by another name is no other judge: it has heard the sound, and the result is the same one.
    with clap_directory("pocket") as directory:
        shutil.copytree(directory, tmp_path / "copy")
    again = run(*scenes.command(tmp_path / "out", "--rerank", tmp_path / "copy", "--json"))
    assert again.code == 0, again.err
    assert again.report["done_before"]


def test_what_breaks_the_judge_stands_alone(
    run: Run, scenes: Scenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = load_clap(str(scenes.judge))
    expected = best(judge, scenes.heard, scenes.candidates)
    embed_audio, embed_text, poison = TransformersClap.embed_audio, TransformersClap.embed_text, expected[0]

    def deaf(self: TransformersClap, waveforms: Sequence[FloatArray]) -> FloatArray:
        if self.name == str(scenes.judge) and any(len(waveform) == SHORT * 32000 for waveform in waveforms):
            raise RuntimeError("an illegal memory access was encountered")
        return embed_audio(self, waveforms)

    def illiterate(self: TransformersClap, texts: Sequence[str]) -> FloatArray:
        if self.name == str(scenes.judge) and poison in texts:
            raise RuntimeError("cannot tokenize")
        return embed_text(self, texts)

    left = [tuple(text for text in texts if text != poison) for texts in scenes.candidates]
    others = best(judge, scenes.heard, left)
    monkeypatch.setattr(TransformersClap, "embed_audio", deaf)
    monkeypatch.setattr(TransformersClap, "embed_text", illiterate)
    assert run(*scenes.command(tmp_path, "--rerank", scenes.judge)).code == 0
    [letter] = [row for path in tmp_path.glob("dead_letters/*.parquet") for row in pq.read_table(path).to_pylist()]
    assert (Path(letter["uri"]).name, letter["stage"], letter["code"]) == ("2.wav", "rerank_audio", "MODEL_FAILED")
    assert [row["caption"] for row in rows(tmp_path)] == [text for n, text in enumerate(others) if n != 2]


def test_a_judge_of_another_rate_chooses_among_the_captioners_beams(
    run: Run, caption: Caption, judge: Path, tmp_path: Path
) -> None:
    done = run(*caption(tmp_path / "out", "--rerank", judge, "--json"))
    assert done.code == 0, done.err
    assert done.report["counts"]["captions"] == 11
    described = json.loads((tmp_path / "out" / "run.json").read_text())
    assert described["configuration"]["candidates"] == 2  # the captioner's beams
    assert described["configuration"]["rerank"] == str(judge)
    dry = run(*caption(tmp_path / "dry", "--rerank", judge, "--dry-run", "--json"))
    assert dry.report["rows"][0]["caption"] == rows(tmp_path / "out")[0]["caption"]
    assert dry.report["fingerprints"] == described["fingerprints"]
    assert "rerank" in run("inspect", tmp_path / "out").out

    # Another judge, or none, is another result; the same one goes on.
    assert run(*caption(tmp_path / "out", "--rerank", judge)).code == 0
    assert_one_line(run(*caption(tmp_path / "out", "--candidates", 2)), "--overwrite")
    assert_one_line(run(*caption(tmp_path / "out")), "--overwrite")


def test_a_captioner_with_one_beam_is_asked_for_four_captions(
    run: Run, caption: Caption, captioner: Path, judge: Path, tmp_path: Path
) -> None:
    shutil.copytree(captioner, tmp_path / "greedy")
    said = json.loads((tmp_path / "greedy" / "captioner.json").read_text())
    said["decode"]["num_beams"] = 1
    (tmp_path / "greedy" / "captioner.json").write_text(json.dumps(said))
    options = ("--captioner", tmp_path / "greedy", "--rerank", judge)
    assert run(*caption(tmp_path / "out", *options)).code == 0
    assert json.loads((tmp_path / "out" / "run.json").read_text())["configuration"]["candidates"] == 4


def test_a_judge_that_hears_less_than_a_window_is_refused(
    run: Run, caption: Caption, judge: Path, tmp_path: Path
) -> None:
    shutil.copytree(judge, tmp_path / "short")
    settings = json.loads((tmp_path / "short" / "preprocessor_config.json").read_text())
    settings |= {"max_length_s": 5, "nb_max_samples": 5 * 48000}
    (tmp_path / "short" / "preprocessor_config.json").write_text(json.dumps(settings))
    assert_one_line(run(*caption(tmp_path / "out", "--rerank", tmp_path / "short")), "--window 10", "5 s", "--rerank")
    assert not (tmp_path / "out").exists()
