"""Kill a build of a datastore at random moments: the files must be those of a build that nobody disturbed.

    python -m benchmarks.datastore_kills --captions 20000 --kills 50

Every attempt is the same command; SIGKILL goes to its whole process group after 0.3 to 1.5 times the time of an
undisturbed build. When an attempt ends by itself, all files are compared byte for byte and verified, and the next round
begins. Builds of a new datastore and additions to one take turns; one that grows must stay readable whenever it is
killed. Units of captions are made small. Those on disk after a kill must not be embedded again, which is counted.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.datastore_build import caption
from benchmarks.killing import Killer
from sonogloss.clap import transformers_clap  # noqa: F401  # imported before attempts are forked
from sonogloss.indexes import Datastore, verify
from sonogloss.pipelines import build_datastore, command_line  # noqa: F401  # likewise
from sonogloss.transforms import embed_text

_BROKEN_EVERY = 97  # lines; their dead letters are files that a kill may cut as well


def job(arguments: Sequence[str], notes: Path, *, unit: int) -> int:
    """The command with units of so many captions, which notes those that it begins to embed."""
    embed, name = embed_text.embed_texts, embed_text.unit_name
    named = ""

    def noted_name(*values: Any) -> str:
        nonlocal named
        named = name(*values)
        return named

    def noted(texts: Sequence[str], *values: Any) -> Any:
        with notes.open("a") as file:
            file.write(f"{named} {len(texts)}\n")
        return embed(texts, *values)

    embed_text.CAPTIONS_A_UNIT, embed_text.embed_texts, embed_text.unit_name = unit, noted, noted_name
    return command_line.main(arguments)


def write_dump(path: Path, numbers: range) -> None:
    """Captions with a further column; some lines are broken."""
    with path.open("w") as file:
        for number in numbers:
            line = json.dumps({"text": caption(number), "clip": number})
            file.write((line[:-9] if number % _BROKEN_EVERY == 0 else line) + "\n")


def digests(store: Path) -> dict[str, str]:
    """The sha256 of every file below a folder, hidden ones too."""
    paths = sorted(path for path in store.rglob("*") if path.is_file())
    return {str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


class Units:
    """What is embedded, of one output, and what was there before."""

    def __init__(self, killer: Killer, output: Path) -> None:
        self._killer, self._output = killer, output
        self._kept: set[str] = set()
        self.counts: Counter[str] = Counter()

    def note(self) -> None:
        """Take the notes of an attempt and look at what is on disk after it."""
        noted = self._killer.notes.read_text().split() if self._killer.notes.exists() else []
        self._killer.notes.unlink(missing_ok=True)
        for name, captions in zip(noted[::2], noted[1::2], strict=True):
            self.counts.update({"captions": int(captions), "units": 1, "again": name in self._kept})
        found = {f"units/{path.stem}" for path in (self._output / "units").glob("*.npy")}
        self.counts["kept"] += len(found - self._kept)
        self._kept = found


def check_readable(store: Path, count: int) -> None:
    """A datastore that grows is the old one or the new one, whole."""
    assert Datastore.open(str(store), check="full").count >= count


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=int, default=20_000)
    parser.add_argument("--unit", type=int, default=500, help="captions a unit")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("bench-output/datastore_kills"))
    parser.add_argument("--short", action="store_true", help="2,000 captions, 4 kills")
    options = parser.parse_args()
    captions, kills = (2_000, 4) if options.short else (options.captions, options.kills)
    folder: Path = options.output
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    dumps = {"build": folder / "first.jsonl", "append": folder / "more.jsonl"}
    write_dump(dumps["build"], range(1, captions))
    write_dump(dumps["append"], range(captions // 2, 3 * captions // 2))
    command = ["build-datastore", "--shards", "3", "--captions"]
    commands = {
        "build": [*command, str(dumps["build"]), "--output"],
        "append": [*command, str(dumps["append"]), "--append", "--output"],
    }
    killer = Killer(folder, partial(job, unit=options.unit), kills=kills, seed=options.seed)
    whole = folder / "undisturbed"
    seconds, expected, alone = {}, {}, {}
    for kind, command in commands.items():
        seconds[kind] = killer.undisturbed([*command, str(whole / kind)])
        units = Units(killer, whole / kind)
        units.note()
        expected[kind], alone[kind] = digests(whole / kind), units.counts
        assert verify(str(whole / kind)) == []
        if kind == "build":
            shutil.copytree(whole / "build", whole / "append")
    total, rounds = Counter[str](), 0
    while killer.goes_on:
        kind = ("build", "append")[rounds % 2]
        output = folder / f"killed-{rounds}"
        if kind == "append":
            shutil.copytree(whole / "build", output)
        units = Units(killer, output)

        def killed(kind: str = kind, output: Path = output, units: Units = units) -> None:
            units.note()
            if kind == "append":
                check_readable(output, Datastore.open(str(whole / "build")).count)

        killer.until_done([*commands[kind], str(output)], (0.3 * seconds[kind], 1.5 * seconds[kind]), killed)
        units.note()
        found = digests(output)
        assert found == expected[kind], {name for name, _ in set(found.items()) ^ set(expected[kind].items())}
        assert verify(str(output)) == []
        units.counts.subtract(captions=alone[kind]["captions"], units=alone[kind]["units"])
        total.update(units.counts)
        rounds += 1
        shutil.rmtree(output)
        print(f"round {rounds}, {kind}: {killer.done} kills so far", flush=True)
    times = ", ".join(f"{kind} {each:.1f} s" for kind, each in seconds.items())
    print(f"{killer.done} kills in {rounds} rounds; undisturbed: {times}, {dict(alone['build'])}")
    print(f"units on disk after a kill: {total['kept']}; of them embedded again: {total['again']}")
    print(f"embedded more than once: {total['units']} units, {total['captions']:,} captions, all in work at a kill")
    print(f"all {rounds} finished datastores equal the undisturbed ones, file by file")


if __name__ == "__main__":
    main()
