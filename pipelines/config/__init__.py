"""Configurations: one dataclass a command, whose fields are its options. Nothing heavy is imported here."""
