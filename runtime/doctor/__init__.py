"""``mosear doctor``: what is installed, what of it works, and the line to run for whatever is wrong."""
