"""Jobs: one a file, named verb_noun, each a sub-command and a Python function of the same name and arguments."""
