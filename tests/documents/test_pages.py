"""What the documents say agrees with the repository: links, languages, options, targets, scripts, names."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

import sonogloss
from sonogloss.pipelines.command_line import JOBS, main
from tests.documents.pages import DOCUMENTS, GUIDES, RESULTS, ROOT, blocks, commands, name_of
from tests.documents.test_commands import DATAFLOW

FOREIGN = {"--build-arg", "--rm", "--entrypoint", "--num_processes"}
"""Options of docker and accelerate on our pages."""
WITHOUT_SCRIPT = {"README", "broken_files", "candidate_beams", "laion_parity"}
"""Results that a command or `make` target of ours gave, and no script in benchmarks/."""


@pytest.mark.parametrize("page", DOCUMENTS, ids=name_of)
def test_every_fence_names_a_language(page: Path) -> None:
    assert {block.language for block in blocks(page)} <= {"sh", "python", "text", "mermaid"}
    assert page.read_text().count("\n```") == 2 * len(blocks(page)), "a fence is open, or indented"


@pytest.mark.parametrize("page", DOCUMENTS, ids=name_of)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in headings(linked), target


def headings(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_pages_that_the_code_names_exist() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "*.py", "*.toml", "Makefile", "deploy"], cwd=ROOT, capture_output=True, text=True
    )
    if tracked.returncode:
        pytest.skip("not a git checkout")
    named = {
        name
        for path in tracked.stdout.split()
        for name in re.findall(r"\b(?:docs|benchmarks/results)/[\w-]+\.md\b", (ROOT / path).read_text())
    }
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_the_readme_lists_the_commands_there_are() -> None:
    documented = re.findall(r"^\| `sonogloss ([a-z-]+)` \|", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    assert sorted(documented) == sorted(JOBS)


@pytest.fixture(scope="session")
def options() -> set[str]:
    """Every long option of every command, as its `--help` shows it."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        for command in JOBS:
            assert main([command, "--help"]) == 0
    return set(re.findall(r"--[a-z][a-z0-9-]+", shown.getvalue()))


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_options_in_the_text_exist(page: Path, options: set[str]) -> None:
    """In tables and sentences too, where nothing runs them."""
    beams = {f"--{name}" for name in PipelineOptions([]).get_all_options()}
    code = " ".join(re.findall(r"`([^`\n]+)`", page.read_text()))
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z0-9_-]+", code)) - options - beams - FOREIGN == set()


def test_beam_knows_the_options_of_its_runner() -> None:
    assert {flag.removeprefix("--") for flag in DATAFLOW} - set(PipelineOptions([]).get_all_options()) == set()


def programs(name: str) -> Iterator[list[str]]:
    """The arguments of every call of a program on any page."""
    for page in DOCUMENTS:
        yield from (words[1:] for _, words in commands(page) if words[0] == name)


def test_make_has_the_targets_that_are_named() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert {word for words in programs("make") for word in words} - targets == set()
    spans = (word for page in DOCUMENTS for word in re.findall(r"`make ([a-z-]+)`", page.read_text()))
    assert set(spans) - targets == set()


def test_modules_that_python_runs_have_the_options_that_are_named() -> None:
    for words in programs("python"):
        assert words[0] == "-m", words
        source = ROOT / f"{words[1].replace('.', '/')}.py"
        if not source.exists():
            source = ROOT / words[1].replace(".", "/") / "__main__.py"
        text = source.read_text()
        assert [word for word in words if word.startswith("--") and f'"{word}"' not in text] == [], words


def test_pip_installs_extras_that_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {
        extra for words in programs("pip") for word in words for extra in re.findall(r"[\w-]+", word.partition("[")[2])
    }
    assert named <= set(extras)


def test_every_benchmark_has_its_page_and_every_page_its_benchmark() -> None:
    listed = re.search(r"^BENCHMARKS := ((?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert listed is not None
    assert set(listed[1].replace("\\", " ").split()) == {page.stem for page in RESULTS} - WITHOUT_SCRIPT
    index = (ROOT / "benchmarks" / "results" / "README.md").read_text()
    assert [page.name for page in RESULTS if page.stem != "README" and f"({page.name})" not in index] == []


@pytest.mark.parametrize("page", [page for page in RESULTS if page.stem != "README"], ids=name_of)
def test_a_result_has_its_date(page: Path) -> None:
    assert re.search(r"\b20\d\d-\d\d-\d\d\b", page.read_text())


def test_the_python_page_shows_every_public_name() -> None:
    shown = set(
        re.findall(
            r"`(\w+)`", " ".join(re.findall(r"^### (.+)$", (ROOT / "docs/api.md").read_text(), flags=re.MULTILINE))
        )
    )
    assert shown == {name for name in sonogloss.__all__ if not name.startswith("_")}
