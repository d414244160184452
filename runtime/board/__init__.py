"""What the board says of itself: power, heat, clocks, versions."""
