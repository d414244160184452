"""Live windows: the newest stretch of picture and sound, answered as fast as the model can and no faster than asked."""
