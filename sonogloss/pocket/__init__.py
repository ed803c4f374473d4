"""The embedded default: a tiny CLAP and a tiny DRCap decoder, with the recipe that makes them from nothing.

`weights/clap` is an ordinary ClapModel directory and `weights/drcap` an ordinary captioner directory; no code path
knows them. `python -m recipes.pocket` makes them again.
"""
