"""The page of a run, and of two runs."""
