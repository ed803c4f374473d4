"""Make the pocket pair from nothing: `python -m recipes.pocket`. Interrupted, it goes on where it was.

--directory DIR    work and checkpoints (default pocket-training)
--soft-hard        only pocket:soft-hard, over the released CLAP
--ordered          only the CLAP pocket:ordered: the released one goes on to learn order; and a captioner over it
--zeraucap         only the language model of pocket:zeraucap, over the released CLAP
--real-clips DIR   ESC-50's folder with metadata.csv; only ESC-10 (CC BY), folds 1 to 3 are learned from
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

# glibc returns and re-maps every large tensor by default, which costs half the time of a training step on a CPU.
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(8 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
}


def main() -> None:
    """Pool, tokenizer, CLAP, decoder, in this order; what is finished is not done again."""
    parser = argparse.ArgumentParser(prog="python -m recipes.pocket", description="Train the pocket pair.")
    parser.add_argument("--directory", type=Path, default=Path("pocket-training"))
    parser.add_argument("--real-clips", type=Path)
    parser.add_argument("--published", action="store_true")
    parser.add_argument("--soft-hard", action="store_true")
    parser.add_argument("--ordered", action="store_true")
    parser.add_argument("--zeraucap", action="store_true")
    parser.add_argument("--release", action="store_true")
    parser.add_argument("--reports", type=Path, default=Path("bench-output"))
    arguments = parser.parse_args()
    if arguments.release and arguments.zeraucap:
        from recipes.pocket.zeraucap import release_zeraucap

        release_zeraucap(arguments.directory, arguments.reports)
        return
    if arguments.release and arguments.ordered:
        from recipes.pocket.order import release_ordered

        release_ordered(arguments.directory, arguments.reports)
        return
    if arguments.release and arguments.soft_hard:
        from recipes.pocket.soft_hard import release_soft_hard

        release_soft_hard(arguments.directory, arguments.reports)
        return
    if arguments.release:
        from recipes.pocket.release import release

        release(arguments.directory, arguments.reports, arguments.real_clips)
        return
    if "MALLOC_TOP_PAD_" not in os.environ:
        os.execve(  # noqa: S606  # itself, with other settings of the memory allocator
            sys.executable, [sys.executable, "-m", "recipes.pocket", *sys.argv[1:]], os.environ | MALLOC
        )
    if arguments.soft_hard:
        from recipes.pocket.recipe import PocketRecipe
        from recipes.pocket.soft_hard import make_soft_hard

        make_soft_hard(arguments.directory, PocketRecipe())
        return
    if arguments.ordered:
        from recipes.pocket.order import make_ordered
        from recipes.pocket.recipe import PocketRecipe
        from recipes.pocket.soft_hard import make_soft_hard

        make_ordered(arguments.directory, PocketRecipe())
        make_soft_hard(arguments.directory, PocketRecipe(), clap_name="pocket:ordered")
        return
    if arguments.zeraucap:
        from recipes.pocket.recipe import PocketRecipe
        from recipes.pocket.zeraucap import make_zeraucap

        make_zeraucap(arguments.directory, PocketRecipe())
        return
    from recipes.pocket.build import build

    build(arguments.directory, arguments.real_clips, published=arguments.published)


if __name__ == "__main__":
    main()
