"""The wheel as a user gets it: built from a clean copy, installed into another environment, away from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ["indexes", "pipelines", "sonogloss", "transforms"]
ROOMS = ["indexes", "pipelines", "transforms"]  # at the root, and packages of `sonogloss`
HEAVY = {"torch", "transformers", "apache_beam", "faiss", "peft", "pandas"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy, so that no leftover of an earlier build can slip in."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ["pyproject.toml", "README.md", "LICENSE"]:
        shutil.copy(ROOT / name, source)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(out), str(source))
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of a new environment that holds the wheel; dependencies are borrowed from ours, not fetched."""
    home = tmp_path_factory.mktemp("elsewhere")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    python = home / "bin" / "python"
    pip("--python", str(python), "install", "--no-deps", str(wheel))
    # After the install, or pip would find this environment's editable sonogloss and call the requirement satisfied.
    # A folder named in a .pth file is searched, but its own .pth files (the editable install) are not followed.
    site_packages = next((home / "lib").glob("python*/site-packages"))
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site_packages / "borrowed.pth").write_text("\n".join(sorted(borrowed)) + "\n")
    return python.parent


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PIP_NO_INDEX": "1"})
    assert result.returncode == 0, result.stderr


def run_away(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command where neither the checkout nor the caller's settings can help it."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_the_wheel_holds_one_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        top = {name.split("/")[0] for name in archive.namelist()}
    assert sorted(name for name in top if not name.endswith(".dist-info")) == ["sonogloss"]
    assert len(top) == 2


def test_every_file_of_the_packages_travels(wheel: Path) -> None:
    """Modules, weights, tokenizers, label lists, `py.typed`: what works in the checkout works from the wheel."""
    files = {
        path.relative_to(ROOT).as_posix()
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    files = {name if name.startswith("sonogloss/") else f"sonogloss/{name}" for name in files}
    with zipfile.ZipFile(wheel) as archive:
        assert files - set(archive.namelist()) == set()


def test_the_installed_packages_are_the_wheels_own(elsewhere: Path, tmp_path: Path) -> None:
    code = "import sonogloss.indexes as i, sonogloss.transforms as t; print(i.__file__, t.__file__)"
    result = run_away(elsewhere / "python", "-c", code, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert all(path.startswith(str(elsewhere.parent)) for path in result.stdout.split())


def test_help_answers_without_loading_anything_heavy(elsewhere: Path, tmp_path: Path) -> None:
    result = run_away(elsewhere / "python", "-X", "importtime", elsewhere / "sonogloss", "--help", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "build-datastore" in result.stdout
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in result.stderr.splitlines() if "|" in line}
    assert "sonogloss" in imported
    assert imported & HEAVY == set()


def test_a_mistyped_command_is_told_in_a_sentence(elsewhere: Path, tmp_path: Path) -> None:
    result = run_away(elsewhere / "sonogloss", "captoin", cwd=tmp_path)
    assert result.returncode == 2
    assert "captoin" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A working folder as data repositories have them: packages of its own called `pipelines` and `indexes`."""
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "__init__.py").write_text("raise RuntimeError('the foreign pipelines')")
    (tmp_path / "transforms.py").write_text("raise RuntimeError('the foreign transforms')")
    (tmp_path / "indexes.py").write_text("raise RuntimeError('the foreign indexes')")
    return tmp_path


def test_a_job_works_in_a_folder_that_holds_a_foreign_pipelines(elsewhere: Path, foreign: Path) -> None:
    (foreign / "captions.txt").write_text("a dog barks\nrain falls\n")
    command = [elsewhere / "python", "-m", "sonogloss", "build-datastore", "--captions", "captions.txt", "--output"]
    for output, flags in (
        ("store", []),
        ("other", ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]),
    ):
        result = run_away(*command, output, *flags, cwd=foreign)
        assert result.returncode == 0, result.stderr
        assert (foreign / output / "manifest.json").exists()
    manifests = [(foreign / output / "manifest.json").read_bytes() for output in ("store", "other")]
    assert manifests[0] == manifests[1]


def test_importing_prints_nothing_and_loads_nothing_heavy(elsewhere: Path, tmp_path: Path) -> None:
    code = "import sys, sonogloss; print(sorted({name.split('.')[0] for name in sys.modules} & set(sys.argv[1:])))"
    result = run_away(elsewhere / "python", "-c", code, *sorted(HEAVY), "numpy", cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "[]\n", "")
    every = "import sonogloss; [getattr(sonogloss, name) for name in sonogloss.__all__]"
    result = run_away(elsewhere / "python", "-W", "error", "-c", every, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
