"""A method of another package goes through the commands like one of ours: its entry point is all that is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from sonogloss.clap import Clap
from sonogloss.errors import OptionError
from sonogloss.methods import ClapIdentity, NewCaptioner, save_captioner
from sonogloss.methods.mapper import Mapper
from sonogloss.pipelines.config.fields import settings_of
from sonogloss.pipelines.config.method_options import add_method_options
from sonogloss.pipelines.config.training import TrainCaptionerOptions, training_parts
from tests.language_models import tiny_gpt2, tiny_tokenizer
from tests.third_party_method import install

from .conftest import CAPTIONS, Run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = install(tmp_path / "site")
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in [name for name in sys.modules if name == "toy" or name.startswith("toy.")]:
        del sys.modules[name]


@pytest.fixture
def toy_captioner(tmp_path: Path, site: Path, tiny_clap_dir: Path, tiny_clap: Clap) -> Path:
    from toy.settings import ToyPrompt  # type: ignore[import-not-found]  # on the path in these tests only

    torch.manual_seed(0)
    save_captioner(
        str(tmp_path / "captioner"),
        NewCaptioner(
            clap=ClapIdentity(name=str(tiny_clap_dir), fingerprint=tiny_clap.fingerprint, dim=tiny_clap.dim),
            language_model=tiny_gpt2(),
            tokenizer=tiny_tokenizer(),
            mapper=Mapper(tiny_clap.dim, 32, hidden=4),
            prompt=ToyPrompt(),
            projection=None,
        ),
    )
    return tmp_path / "captioner"


def test_it_captions(run: Run, tmp_path: Path, toy_captioner: Path, store: Path, recordings: Path) -> None:
    argv = ["caption", "--audio", recordings, "--datastore", store, "--captioner", toy_captioner]
    outcome = run(*argv, "--output", tmp_path / "results", "--max-dead-letters", 0.2, "--json")
    assert outcome.code == 0, outcome.err
    rows = pq.read_table(tmp_path / "results" / "captions").to_pylist()
    assert len(rows) == 11
    for row in rows:
        assert row["method"] == "toy"
        assert row["caption"] == f"I hear {row['contexts'][0]['text']}"
    assert run("verify", toy_captioner).code == 0
    assert "toy" in run("inspect", toy_captioner).out
    several = run(*argv, "--output", tmp_path / "other", "--candidates", 2)
    assert (several.code, "one caption a clip" in several.err) == (2, True)
    beams = run(*argv, "--output", tmp_path / "beams", "--candidate-beams", "1-2", "--max-dead-letters", 0.2)
    assert beams.code == 0, beams.err


def test_its_settings_are_options_and_it_is_trained(tmp_path: Path, site: Path, tiny_clap_dir: Path) -> None:
    """In a process of its own: the options of train-captioner are made when it is imported."""
    tiny_gpt2().save_pretrained(tmp_path / "lm")
    tiny_tokenizer().save_pretrained(tmp_path / "lm")
    (tmp_path / "dump.txt").write_text("\n".join(CAPTIONS))
    argv = ["--method", "toy", "--captions", tmp_path / "dump.txt", "--output", tmp_path / "trained", "--json"]
    argv += ["--clap", tiny_clap_dir, "--language-model", tmp_path / "lm", "--steps", 2, "--echoes", 2]
    argv += ["--lead", "There", "--batch-size", 2, "--tune", "none"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{site}"}
    command = [sys.executable, "-m", "sonogloss.pipelines.command_line", "train-captioner"]
    done = subprocess.run([*command, *map(str, argv)], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["method"], report["echoes"], report["steps"]) == ("toy", 2, 2)
    content = json.loads((tmp_path / "trained" / "captioner.json").read_text())
    assert (content["method"], content["prompt"], content["contexts"]) == ("toy", {"lead": "There"}, 1)
    assert content["training"]["settings"] == {"echoes": 2}
    wrong = subprocess.run(
        [*command, *map(str, argv), "--band", "0", "1"], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert wrong.returncode == 2
    assert "--band is no option of --method toy. Leave it out; it belongs to drcap." in wrong.stderr


def test_the_help_of_its_options_is_that_of_its_fields(site: Path) -> None:
    config = add_method_options(TrainCaptionerOptions, ["drcap", "toy"], training_parts, lambda *_: "so many")
    options = {setting.name: setting.option for setting in settings_of(config)}
    assert options["echoes"].help == "how often an answer is repeated"
    assert (options["echoes"].metavar, options["echoes"].group, options["echoes"].default_text) == (
        "TIMES",
        "toy",
        "so many",
    )


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [("steps", "int", "'steps'"), ("contexts", "str", "'contexts'"), ("contexts", "int", "")],
)
def test_options_of_one_name_must_mean_the_same(site: Path, name: str, kind: str, message: str) -> None:
    settings = site / "toy" / "settings.py"
    settings.write_text(
        settings.read_text().replace("    echoes: int", f"    {name}: {kind}").replace("    contexts: C", "    _: C")
    )
    add = lambda: add_method_options(TrainCaptionerOptions, ["drcap", "toy"], training_parts, lambda *_: "")  # noqa: E731
    if message:
        with pytest.raises(OptionError, match=f"The method 'toy' has a setting {message}"):
            add()
    else:  # the same type: one option for both
        options = {setting.name: setting.option for setting in settings_of(add())}
        assert options["contexts"].group == "drcap and toy"
        assert "toy: how often an answer is repeated" in options["contexts"].help
