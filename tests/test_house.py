"""What holds for the repository as a whole: modules, pins and the container agree. Documents: `tests/documents`."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(
    path for room in ["sonogloss", "indexes", "transforms", "pipelines"] for path in (ROOT / room).rglob("*.py")
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = dict(re.findall(r"^([a-z0-9.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE))


def imports_of(tree: ast.Module) -> Iterator[str]:
    """Every module that is imported anywhere in the file, at its head or inside a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_needs_torchvision_or_torchaudio(path: Path) -> None:
    """They break transformers wherever they do not fit the build of torch."""
    roots = {name.split(".")[0] for name in imports_of(ast.parse(path.read_text()))}
    assert roots & {"torchvision", "torchaudio"} == set()


def test_the_pinned_set_leaves_torchvision_and_torchaudio_out() -> None:
    assert {"torchvision", "torchaudio"} & PINS.keys() == set()


@pytest.mark.parametrize("extra", [None, "cpu", "dev"])
def test_the_pins_are_within_the_declared_bounds(extra: str | None) -> None:
    declared = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    for requirement in map(Requirement, declared):
        assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)]), requirement


def test_the_container_runs_the_pinned_beam() -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    assert re.findall(r"^ARG BEAM_VERSION=(\S+)$", dockerfile, flags=re.MULTILINE) == [PINS["apache-beam"]]


@pytest.mark.parametrize(
    ("room", "absent"),
    [
        ("sonogloss", {"torch", "apache_beam", "faiss", "transformers"}),
        ("sonogloss.records, sonogloss.errors, sonogloss.files", {"torch", "apache_beam", "faiss", "transformers"}),
        ("sonogloss.sources", {"torch", "apache_beam", "faiss", "transformers", "soundfile"}),
        ("sonogloss.soundscapes", {"torch", "apache_beam", "faiss", "transformers"}),
        ("sonogloss.indexes", {"torch", "apache_beam", "transformers"}),
        ("sonogloss.transforms", {"torch", "transformers", "faiss"}),
    ],
)
def test_a_room_loads_only_what_it_stands_on(room: str, absent: set[str]) -> None:
    """import-linter reads the source; this asks the interpreter, so imports inside functions may stay."""
    code = f"import sys, {room}; print(*{{name.split('.')[0] for name in sys.modules}})"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert absent & set(result.stdout.split()) == set()
