"""Captioners of other methods, and the settings in which ours differ from the released systems."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from sonogloss.clap import Clap
from sonogloss.indexes.layout import read_manifest, write_manifest
from sonogloss.methods import ClapIdentity, DecodeSettings, NewCaptioner, ProjectionSettings, save_captioner
from sonogloss.methods.labels import embed_labels, read_labels
from sonogloss.methods.mapper import TanhMapper
from sonogloss.methods.soft_hard.prompt import SoftHardPrompt
from sonogloss.pipelines.config.captioning import CaptionConfig
from sonogloss.pipelines.running.caption_job import CaptionJob, prepare
from sonogloss.transforms.models import DatastoreReference

from .conftest import Run, assert_one_line

Prepare = Callable[..., CaptionJob]


@pytest.fixture(scope="session")
def soft_hard(tmp_path_factory: pytest.TempPathFactory, tiny_clap_dir: Path, tiny_clap: Clap) -> Path:
    """A soft-hard captioner directory of two languages with a tiny random decoder."""
    directory = tmp_path_factory.mktemp("captioner") / "soft-hard"
    tokenizer = AutoTokenizer.from_pretrained(tiny_clap_dir)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        config = GPT2Config(
            vocab_size=len(tokenizer),
            n_positions=192,
            n_embd=32,
            n_layer=1,
            n_head=2,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            initializer_range=0.3,
        )
        model = GPT2LMHeadModel(config)
        mapper = TanhMapper(tiny_clap.dim, 32, slots=2)
    save_captioner(
        str(directory),
        NewCaptioner(
            clap=ClapIdentity(name=str(tiny_clap_dir), fingerprint=tiny_clap.fingerprint, dim=tiny_clap.dim),
            language_model=model.eval(),
            tokenizer=tokenizer,
            mapper=mapper,
            prompt=SoftHardPrompt(soft_slots=2, languages=("en", "fr"), language_tag="en"),
            labels=embed_labels(read_labels("pocket"), tiny_clap),
            projection=None,
            decode=DecodeSettings(num_beams=2, max_new_tokens=6, scoring="average", stop=(".",)),
        ),
    )
    return directory


@pytest.fixture
def job(store: Path, captioner: Path) -> Prepare:
    """Prepare a job of the DRCap captioner."""

    def _job(**options: Any) -> CaptionJob:
        common = {"datastore": store, "captioner": captioner, "audio": "a.wav", "output": "out", "device": "cpu"}
        return prepare(CaptionConfig(**(common | options)))

    return _job


@pytest.fixture(scope="session")
def other_store(tmp_path_factory: pytest.TempPathFactory, store: Path, tiny_clap_dir: Path) -> Path:
    """A datastore of another domain."""
    from sonogloss.pipelines.build_datastore import build_datastore

    folder = tmp_path_factory.mktemp("other")
    (folder / "dump.txt").write_text("waves roll onto a beach\nan owl hoots twice\na train passes\n")
    build_datastore(captions=[str(folder / "dump.txt")], output=str(folder / "store"), clap=str(tiny_clap_dir))
    return folder / "store"


def rows(output: Path) -> list[dict[str, Any]]:
    found = [row for path in output.glob("captions/*.parquet") for row in pq.read_table(path).to_pylist()]
    return sorted(found, key=lambda row: (row["uri"], row["start_s"]))


def test_a_captioner_that_looks_nothing_up_needs_no_datastore(
    run: Run, recordings: Path, soft_hard: Path, tmp_path: Path
) -> None:
    command = ["caption", "--audio", recordings, "--captioner", soft_hard, "--max-dead-letters", "0.1"]
    assert run(*command, "--output", tmp_path / "out").code == 0
    found = rows(tmp_path / "out")
    assert len(found) == 11
    assert {(row["method"], len(row["contexts"])) for row in found} == {("soft-hard", 0)}
    described = json.loads((tmp_path / "out" / "run.json").read_text())
    assert set(described["fingerprints"]) == {"clap", "captioner"}
    assert run("verify", tmp_path / "out").code == 0
    french = run(*command, "--output", tmp_path / "out", "--language", "fr")
    assert_one_line(french, "--overwrite")
    dry = run(*command, "--output", tmp_path / "dry", "--dry-run", "--json")
    assert dry.report["rows"][0]["caption"] == found[0]["caption"]
    named = [keyword["label"] for keyword in found[0]["keywords"]]
    assert len(named) == 4
    assert set(named) <= set(read_labels("pocket"))
    assert dry.report["rows"][0]["keywords"] == named
    assert named[0] in run(*command, "--output", tmp_path / "dry", "--dry-run").out
    magic = run(*command, "--output", tmp_path / "magic", "--magic")
    assert magic.code == 0, magic.err
    other = json.loads((tmp_path / "magic" / "run.json").read_text())
    assert other["fingerprints"]["captioner"] != described["fingerprints"]["captioner"]


def test_a_captioner_that_looks_something_up_says_so(
    run: Run, recordings: Path, captioner: Path, soft_hard: Path, tmp_path: Path
) -> None:
    def caption(*options: object) -> Any:
        return run("caption", "--audio", recordings, "--output", tmp_path / "out", *options)

    assert_one_line(caption("--captioner", captioner), "reads 2 retrieved captions", "--datastore")
    assert_one_line(caption("--captioner", captioner, "--contexts", "0"), "text support", "--no-projection")
    assert_one_line(caption("--captioner", soft_hard, "--contexts", "2"), "reads no retrieved captions")
    assert_one_line(caption("--captioner", soft_hard, "--projection"), "text support", "--support")
    assert_one_line(caption("--captioner", soft_hard, "--temperature", "0.1"), "--temperature", "--projection")
    assert_one_line(caption("--captioner", soft_hard, "--language", "zh"), "'zh'")
    assert_one_line(caption("--captioner", soft_hard, "--fast"), "--fast")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--contexts", "900"], ["--contexts 900", "prompts of 186 tokens"]),
        (["--contexts", "40"], ["--contexts 40", "holds"]),
        (["--temperature", "warm"], ["--temperature", "'clap'"]),
        (["--temperature", "-1"], ["temperature", "-1"]),
        (["--no-projection", "--no-renormalise"], ["--renormalise", "there is none"]),
        (["--beams", "2", "--candidate-beams", "2-3"], ["--candidate-beams"]),
        (["--candidate-beams", "8-2"], ["--candidate-beams", "2-8"]),
        (["--candidate-beams", "two"], ["--candidate-beams", "'two'"]),
        (["--candidate-beams", "2-900"], ["900 beams", "half of its tokens"]),
        (["--candidates", "3", "--candidate-beams", "2-3"], ["--candidates", "--candidate-beams", "exclude"]),
        (["--candidates", "1"], ["--candidates 1", "2 or more"]),
        (["--candidates", "900"], ["900 beams", "half of its tokens"]),
        (["--candidates", "4", "--beams", "3"], ["--beams 3", "4 candidates"]),
        (["--rerank", "{tmp}/none", "--beams", "1"], ["--beams 1", "4 candidates"]),
        (["--rerank", "{tmp}/none"], ["CLAP", "none"]),
        (["--max-windows", "0"], ["--max-windows"]),
        (["--precision", "float4"], ["--precision"]),
        (["--language", "fr"], ["one language"]),
        (["--captioner", "pocket:telepathy"], ["pocket:telepathy", "Choose one of"]),
        (["--support", "{tmp}/none"], ["none"]),
        (["--support", "{tmp}/strange"], ["another-clap", "fingerprint"]),
    ],
)
def test_settings_that_cannot_be_used_are_told_in_one_line(
    run: Run, recordings: Path, store: Path, captioner: Path, tmp_path: Path, options: list[str], words: list[str]
) -> None:
    shutil.copytree(store, tmp_path / "strange")
    manifest = read_manifest(str(tmp_path / "strange"))
    clap = {**manifest.clap, "fingerprint": "0" * 64, "name": "another-clap"}
    write_manifest(str(tmp_path / "strange"), replace(manifest, clap=clap))
    common = ["--audio", recordings, "--datastore", store, "--captioner", captioner, "--output", tmp_path / "out"]
    outcome = run("caption", *common, *(option.format(tmp=tmp_path) for option in options))
    assert_one_line(outcome, *(word for word in words if word != "another-clap"))
    assert not (tmp_path / "out").exists()


def test_every_setting_that_shapes_a_row_shapes_the_digest(job: Prepare, other_store: Path, store: Path) -> None:
    settings: list[dict[str, Any]] = [
        {},
        {"contexts": 1},
        {"projection": False},
        {"temperature": 0.2},
        {"temperature": "clap"},
        {"renormalise": True},
        {"beams": 3},
        {"candidate_beams": (2, 3)},
        {"candidates": 2},
        {"candidates": 3},
        {"candidates": 3, "beams": 5},
        {"candidates": 3, "rerank": "pocket"},
        {"candidate_beams": (2, 3), "rerank": "pocket"},
        {"parity": True},
        {"precision": "bfloat16"},
        {"max_windows": 1},
        {"support": str(other_store)},
        {"datastore": str(other_store)},
        {"datastore": str(other_store), "support": str(store)},
    ]
    digests = [job(**options).digest() for options in settings]
    assert len(set(digests)) == len(digests)
    assert job().digest() == digests[0]


def test_projection_is_the_captioners_unless_one_asks_otherwise(
    job: Prepare, store: Path, soft_hard: Path, tiny_clap: Clap
) -> None:
    assert job().projection == ProjectionSettings(temperature=0.05, renormalise=False)
    assert job(renormalise=True).projection == ProjectionSettings(temperature=0.05, renormalise=True)
    assert job(projection=False).projection is None
    assert job(captioner=str(soft_hard)).projection is None
    assert job(captioner=str(soft_hard), projection=True).projection == ProjectionSettings()
    parity = job(parity=True)
    assert parity.projection == ProjectionSettings(temperature=tiny_clap.temperature, renormalise=False)
    assert parity.contexts == 3
    assert job(parity=True, contexts=1, temperature=0.5).projection == ProjectionSettings(
        temperature=0.5, renormalise=False
    )
    assert job(parity=True, captioner=str(soft_hard)).projection is None


def test_several_datastores_are_one_and_the_way_of_searching_shapes_no_row(
    job: Callable[..., CaptionJob], store: Path, other_store: Path
) -> None:
    one, two = job(), job(datastore=[str(store), str(other_store)])
    assert one.datastore is not None
    assert two.datastore is not None
    together = two.datastore.load()
    assert together.count == one.datastore.load().count + DatastoreReference.of(str(other_store)).load().count
    assert two.digest() != one.digest()
    mapped = job(search="partitioned")
    assert mapped.digest() == one.digest()
    assert mapped.datastore is not None
    queries = one.clap.load().embed_text(["a dog barks", "rain"])
    assert mapped.datastore.load().search(queries, 3) == one.datastore.load().search(queries, 3)


def test_captions_come_from_one_datastore_and_the_support_from_another(
    run: Run, recordings: Path, store: Path, other_store: Path, captioner: Path, tmp_path: Path, job: Prepare
) -> None:
    swapped, own, other = (
        reference.load()
        for options in ({"support": other_store}, {}, {"datastore": other_store})
        if (reference := job(**options).datastore) is not None
    )
    queries = np.eye(3, job().clap.load().dim, dtype=np.float32)
    assert swapped.search(queries, 2) == own.search(queries, 2)
    expected = other.project(queries, temperature=0.05, renormalise=False)
    np.testing.assert_array_equal(swapped.project(queries, temperature=0.05, renormalise=False), expected)
    options = ["--captioner", captioner, "--datastore", store, "--support", other_store, "--output", tmp_path]
    assert run("caption", "--audio", recordings / "0.wav", *options).code == 0
    described = json.loads((tmp_path / "run.json").read_text())
    assert described["fingerprints"]["support"] == job(datastore=str(other_store)).fingerprints()["datastore"]
    assert described["configuration"]["support"] == str(other_store)
    alone = job(datastore=None, support=str(other_store), contexts=0)
    assert alone.fingerprints()["datastore"] == described["fingerprints"]["support"]


def test_parity_hears_the_first_window_only_unless_one_asks_for_more(
    run: Run, recordings: Path, store: Path, captioner: Path, tmp_path: Path
) -> None:
    common = ["caption", "--audio", recordings / "3.wav", "--datastore", store, "--captioner", captioner, "--parity"]
    assert run(*common, "--output", tmp_path / "first").code == 0
    [row] = rows(tmp_path / "first")
    assert (row["start_s"], row["end_s"], len(row["contexts"])) == (0, 10, 3)
    assert run(*common, "--output", tmp_path / "two", "--max-windows", "2", "--contexts", "1").code == 0
    assert [(row["start_s"], len(row["contexts"])) for row in rows(tmp_path / "two")] == [(0, 1), (10, 1)]


def test_the_candidate_nearest_to_the_sound_is_kept(
    run: Run, recordings: Path, store: Path, captioner: Path, tmp_path: Path
) -> None:
    common = ["caption", "--audio", recordings, "--datastore", store, "--captioner", captioner]
    common += ["--max-dead-letters", "0.1"]
    found = {}
    for name, options in {
        "1": ["--beams", "1"],
        "3": ["--beams", "3"],
        "both": ["--candidate-beams", "1,3"],
    }.items():
        assert run(*common, "--output", tmp_path / name, *options).code == 0
        found[name] = rows(tmp_path / name)
    for greedy, wide, both in zip(found["1"], found["3"], found["both"], strict=True):
        best = max(greedy, wide, key=lambda row: row["clap_score"])
        assert both["caption"] == best["caption"]
        assert both["clap_score"] == pytest.approx(best["clap_score"], abs=1e-6)
    stages = json.loads((tmp_path / "both" / "run.json").read_text())["stage_times_s"]
    assert "rerank" in stages
    dry = run(*common, "--output", tmp_path / "dry", "--candidate-beams", "1,3", "--dry-run", "--json")
    assert dry.report["rows"][0]["caption"] == found["both"][0]["caption"]


def test_a_smaller_kind_of_weights_can_be_asked_for(job: Prepare) -> None:
    assert job(precision="int8").captioner.spec.precision == "int8"
