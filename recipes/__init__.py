"""Recipes that make the models of the package; not part of the wheel."""
