"""A CLAP of real parts for `--clap study:DIRECTORY`; `python -m study_clap` makes it."""
