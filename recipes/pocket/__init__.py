"""The recipe of the embedded models: a tiny CLAP and tiny decoders, from nothing. `python -m recipes.pocket`."""
