"""A CLAP of real parts, learned from real pairs, in a package of its own as a third party would bring it."""
