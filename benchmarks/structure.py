"""How the code base is built, in numbers: `python -m benchmarks.structure`.

Product lines are those of `sonogloss/`, `indexes/`, `transforms/` and `pipelines/` that hold code or documentation:
blank lines count, weights and tables do not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("sonogloss", "indexes", "transforms", "pipelines")
LONG = 60


def modules(*rooms: str) -> list[Path]:
    """The Python files of some rooms; the links in sonogloss/ are not followed."""
    return [path for room in rooms for path in sorted((ROOT / room).rglob("*.py")) if "__pycache__" not in path.parts]


def lines(*rooms: str) -> int:
    """Lines of all Python files of some rooms."""
    return sum(len(path.read_text().splitlines()) for path in modules(*rooms))


def functions(path: Path) -> Iterator[tuple[str, int, int]]:
    """Name, number of lines and number of parameters of every function of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            parameters = [argument.arg for argument in given if argument.arg not in ("self", "cls")]
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1, len(parameters)


def import_name(path: Path) -> str:
    """The name that a module is imported by."""
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    return name if name.startswith("sonogloss") else f"sonogloss.{name}"


def imports(path: Path, known: set[str]) -> set[str]:
    """The modules of ours that a file imports, anywhere in it but for type checking."""
    found: set[str] = set()
    tree = ast.parse(path.read_text())
    checked_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in checked_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else node.module for name in names}
    return found & known - {import_name(path)}


def circles() -> list[list[str]]:
    """Groups of modules that import one another (strongly connected components of more than one)."""
    paths = modules(*ROOMS)
    known = {import_name(path) for path in paths}
    graph = {import_name(path): imports(path, known) for path in paths}
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            group = []
            while not group or group[-1] != name:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for name in sorted(graph):
        if name not in index:
            visit(name)
    return found


def main() -> None:
    """Print the numbers."""
    found = [
        (f"{path.relative_to(ROOT)}:{name}", size, width)
        for path in modules(*ROOMS)
        for name, size, width in functions(path)
    ]
    long = sorted(entry for entry in found if entry[1] > LONG)
    wide = max(
        (entry for entry in found if not entry[0].rpartition(":")[2].startswith("_")), key=lambda entry: entry[2]
    )
    product, tests = lines(*ROOMS), lines("tests")
    print(f"product lines                    {product:,}")
    print(f"recipe lines                     {lines('recipes'):,}")
    print(f"test lines / product lines       {tests:,} / {product:,} = {tests / product:.2f}")
    print(f"files in pipelines/              {len(modules('pipelines'))}")
    print(f"functions over {LONG} lines          {len(long)}")
    for name, size, _ in long:
        print(f"    {name} {size}")
    print(f"most parameters, public function {wide[2]} ({wide[0]})")
    groups = circles()
    print(f"circles of imports               {len(groups)}")
    for group in groups:
        print(f"    {', '.join(group)}")


if __name__ == "__main__":
    main()
