"""``mosear serve``: one model behind HTTP, for many clients."""
