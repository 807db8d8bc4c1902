"""The run directory: what training writes, and what is drawn from it."""
