"""A stand-in for Java and for the package that carries the programs."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

MakeJava = Callable[..., None]


@pytest.fixture
def java_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeJava:
    """Make Java a Python script, and pycocoevalcap a folder with these empty files."""

    def make(script: str, *files: str) -> None:
        for name in files:
            path = tmp_path / "pycocoevalcap" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        program = tmp_path / "java"
        program.write_text(f"#!/usr/bin/env python3\n{script}")
        program.chmod(0o755)
        monkeypatch.setattr(shutil, "which", lambda name: str(program))
        spec = importlib.machinery.ModuleSpec("pycocoevalcap", None, is_package=True)
        spec.submodule_search_locations = [str(tmp_path / "pycocoevalcap")]
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)

    return make
