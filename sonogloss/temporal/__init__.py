"""A sense of time: TeminAL post-training of a CLAP on what comes before what, and ZSTE, which measures it."""
