"""The order of sounds: post-training a CLAP on it (TeminAL), and measuring what a CLAP knows of it (ZSTE)."""
