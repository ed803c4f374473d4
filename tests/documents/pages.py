"""The documents of the repository as what they hold: fenced blocks, and the commands in them as a shell reads them."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "deploy" / "README.md"]
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.md"))
DOCUMENTS = [*GUIDES, *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "recipes/README.md")), *RESULTS]
PROGRAMS = ("sonogloss", "python", "make", "pip", "accelerate", "docker", "gcloud", "git")
"""What a shell block may call; anything else in one is a mistake."""

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
_END, _NEXT = "\x1e", "\x1f"


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block: its language and text, and the line of the page where it begins."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    text = page.read_text()
    return [
        Block(page=page, line=text.count("\n", 0, match.start()) + 1, language=match[1], text=match[2])
        for match in _FENCE.finditer(text)
    ]


def commands(page: Path) -> list[tuple[Block, list[str]]]:
    """Every command of a page's shell blocks as a list of words, variables expanded, with its block.

    bash reads the blocks, so quotes, continued lines, comments and variables mean here what they mean to a reader.
    The programs themselves are replaced by functions that print their arguments; nothing is run.
    """
    shell = [block for block in blocks(page) if block.language == "sh"]
    script = ["set -euf", "PATH=", "cd() { :; }"]
    for program in PROGRAMS:
        script.append(f"{program}() {{ printf '%s{_NEXT}' \"$BLOCK\" {program} \"$@\"; printf '{_END}'; }}")
    for number, block in enumerate(shell):
        script += [f"BLOCK={number}", block.text]
    done = subprocess.run(["bash", "-c", "\n".join(script)], capture_output=True, text=True)
    assert done.returncode == 0, f"{name_of(page)}: bash cannot read the shell blocks: {done.stderr}"
    found = [record.split(_NEXT)[:-1] for record in done.stdout.split(_END)[:-1]]
    return [(shell[int(number)], words) for number, *words in found]
