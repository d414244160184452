"""What the board says of itself: power, heat, clocks, versions.

Everything is read from files of the system (``/proc``, ``/sys``, ``/etc``) and from its programs, through a ``Machine``
whose root may be a folder. What is missing, closed or nonsense is left out and never an error.
"""
