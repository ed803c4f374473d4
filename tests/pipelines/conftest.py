"""A command line to call, and small stores and recordings to call it on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonogloss.clap import Clap
from sonogloss.methods import ClapIdentity, DecodeSettings, NewCaptioner, ProjectionSettings, save_captioner
from sonogloss.methods.drcap.prompt import ComposedPrompt
from sonogloss.methods.mapper import Mapper
from sonogloss.pipelines.command_line import main
from sonogloss.transforms import work
from tests.language_models import tiny_model, tiny_tokenizer

CAPTIONS = [
    "a dog barks twice",
    "rain falls on a roof",
    "a man speaks and a door closes",
    "birds sing far away",
    "a siren wails",
    "water drips into a sink",
    "a cat meows",
    "thunder rumbles over the sea",
]


@dataclass
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Outcome]


@pytest.fixture(scope="module", autouse=True)
def small_units() -> Iterator[None]:
    """Ten recordings make two units of work."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "SMALLEST_UNIT", 8)
        yield


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the command line as a user does."""

    def _run(*argv: object) -> Outcome:
        capsys.readouterr()  # what an earlier command left that ended in an exception
        code = main([str(word) for word in argv])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return _run


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, tiny_clap_dir: Path) -> Path:
    """A small datastore made with the tiny CLAP."""
    folder = tmp_path_factory.mktemp("store")
    (folder / "dump.txt").write_text("\n".join(CAPTIONS))
    argv = ["build-datastore", "--captions", folder / "dump.txt", "--output", folder / "store", "--clap", tiny_clap_dir]
    assert main([*map(str, argv), "--json"]) == 0
    return folder / "store"


@pytest.fixture(scope="session")
def captioner(tmp_path_factory: pytest.TempPathFactory, tiny_clap_dir: Path, tiny_clap: Clap) -> Path:
    """A captioner directory with a tiny random decoder: its captions mean nothing, but are captions."""
    import torch
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    directory = tmp_path_factory.mktemp("captioner") / "tiny"
    tokenizer = AutoTokenizer.from_pretrained(tiny_clap_dir)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GPT2LMHeadModel(
            GPT2Config(
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
        )
        mapper = Mapper(tiny_clap.dim, 32, hidden=16)
    save_captioner(
        str(directory),
        NewCaptioner(
            clap=ClapIdentity(name=str(tiny_clap_dir), fingerprint=tiny_clap.fingerprint, dim=tiny_clap.dim),
            language_model=model.eval(),
            tokenizer=tokenizer,
            mapper=mapper,
            prompt=ComposedPrompt(),
            projection=ProjectionSettings(temperature=0.05, renormalise=False),
            contexts=2,
            decode=DecodeSettings(num_beams=2, max_new_tokens=6),
        ),
    )
    return directory


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory, encode: Callable[..., bytes]) -> Path:
    """Ten recordings in two units of work, one of them of three clips, one of them broken: 12 inputs."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for number in range(9):
        seconds = 25 if number == 3 else 1
        (folder / f"{number}.wav").write_bytes(encode(0.1 * rng.standard_normal(seconds * 32000)))
    (folder / "9.wav").write_text("a text that is called wav")
    return folder


def assert_one_line(outcome: Outcome, *words: str) -> None:
    """A user's mistake: exit code 2, one line on standard error that holds these words, and no traceback."""
    assert outcome.code == 2, outcome
    lines = outcome.err.strip().splitlines()
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("sonogloss: error: ")
    for word in words:
        assert word in lines[0]


DUMP = [f"{caption} {where}" for caption in CAPTIONS for where in ("", "in the morning", "far away")]


@pytest.fixture(scope="session")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Llama without a pad token, as many are published."""
    return write_language_model(tmp_path_factory.mktemp("lm") / "llama")


def write_language_model(directory: Path, *, family: str = "llama", words: int | None = None) -> Path:
    model = tiny_model(family)
    if words is not None:
        model.resize_token_embeddings(words)
    model.config.pad_token_id = None
    model.save_pretrained(directory)
    tiny_tokenizer(bos=False).save_pretrained(directory)
    return directory


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    path = tmp_path / "dump.txt"
    path.write_text("\n".join(DUMP))
    return path


@pytest.fixture
def command(dump: Path, tmp_path: Path, tiny_clap_dir: Path, language_model: Path) -> list[object]:
    """What all trainings here have in common."""
    (tmp_path / "held_out.txt").write_text("\n".join(f"{caption} at night" for caption in CAPTIONS))
    models = ["--clap", tiny_clap_dir, "--language-model", language_model]
    numbers = ["--steps", 6, "--batch-size", 4, "--mapper-hidden", 16, "--checkpoint-every", 2, "--tune", "lora"]
    numbers += ["--precision", "float32", "--band", -0.9, 0.99]
    return ["train-captioner", "--method", "drcap", "--captions", dump, *models, *numbers]


def assert_told(outcome: Outcome, *words: str) -> None:
    """Exit code 2, and in the end one line that holds these words: training has said how far it came before."""
    assert outcome.code == 2, outcome
    assert "Traceback" not in outcome.err
    last = outcome.err.strip().splitlines()[-1]
    assert last.startswith("sonogloss: error: ")
    assert all(word in last for word in words), last
