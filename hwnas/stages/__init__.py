"""The stages of a run: each reads files of the run directory and writes files there."""
