#!/usr/bin/python3
"""check_wire.py - docs/WIRE.md and the code give every message the same number and every field the same place

wire_tables.c prints the tables as the compiler sees them.
"""
import pathlib
import sys

import tables

SOURCE = pathlib.Path(__file__).with_name("wire_tables.c")

sys.exit(tables.compare("WIRE.md", [SOURCE], ["proto/base", "proto/wire", "proto/secure"]))
