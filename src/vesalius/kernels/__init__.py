"""Pure functions of arrays: only what no library gives."""
