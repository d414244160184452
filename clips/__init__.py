"""Clips: data sets of short audio-visual recordings, read from labels files or synthesised."""
