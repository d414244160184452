"""A profile, or a comparison of two, as one HTML page that needs nothing else."""
