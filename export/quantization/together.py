"""Two arrays that one computation gives, read one after the other."""

from collections.abc import Callable

from numpy.typing import NDArray


def read_together(
    compute: Callable[[], tuple[NDArray, NDArray]],
) -> tuple[Callable[[], NDArray], Callable[[], NDArray]]:
    """Readers of the first and of the second array of ``compute``.

    Reading the first keeps the second, which should be the small one, until it is read; so reading both in this order
    computes once, and nothing else is kept.
    """
    waiting: list[NDArray] = []

    def first() -> NDArray:
        large, small = compute()
        waiting[:] = [small]
        return large

    def second() -> NDArray:
        return waiting.pop() if waiting else compute()[1]

    return first, second
