#!/usr/bin/python3
"""check_ordering.py - docs/ORDERING.md says of every litmus shape what the tests hold the code to

ordering_tables.c prints the tables from the shapes that tests/litmus runs.
"""
import pathlib
import sys

import tables

SOURCE = pathlib.Path(__file__).with_name("ordering_tables.c")

sys.exit(tables.compare("ORDERING.md", [SOURCE, tables.ROOT / "tests/litmus/shapes.c"], ["tests/litmus"]))
