"""Whose turn it is: for each fetch of a worker with weights, an order of its queues drawn at random."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence


def turns(weights: Sequence[int]) -> Callable[[], Sequence[int]]:
    """What draws an order of the places 0, 1, ...: each next one in proportion to the weights of those left.

    So a queue comes first in its share of the fetches, and none is ever left out: where the first ones have nothing,
    the others are looked at in the same fetch.
    """
    rates = [float(weight) for weight in weights]
    places = range(len(rates))

    def draw() -> Sequence[int]:
        # A race of exponential clocks: of those that still run, each is the next to ring in proportion to its rate.
        moments = [random.expovariate(rate) for rate in rates]
        return sorted(places, key=moments.__getitem__)

    return draw
