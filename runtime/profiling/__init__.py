"""Where a window's time, memory and energy go."""
