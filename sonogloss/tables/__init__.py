"""Small tables that people or other tools write, and lists of names."""

from sonogloss.tables.cells import cell_values, text_list
from sonogloss.tables.names import read_names
from sonogloss.tables.table import Table, open_table, read_table

__all__ = ["Table", "cell_values", "open_table", "read_names", "read_table", "text_list"]
