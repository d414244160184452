"""The commands of ``mosear-eval``: options → the parts."""
