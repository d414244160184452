"""Cameras, microphones and what stands in for them: pictures and sound, each with its time on one clock."""
