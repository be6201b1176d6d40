"""Streams of labelled rows whose law changes in time, and streams of tasks.

`drifting` (lesson 06): classes that move or get other names, digits that turn, flights as they departed. `tasks` (lesson
07): digits under new random labels, or seen through new permutations of their pixels. `events` and `mini` (lesson 10) are of
another kind, a stream of whole tasks with data sets of their own: import them by their own names.

>>> from companion.data.streams import flights
>>> len(flights().labels)
41066
"""

from companion.data.streams.drifting import DRIFTS, Drift, Stream, digit_stream, flight_days, flights, moving_classes
from companion.data.streams.tasks import permuted_digits, random_label_digits

__all__ = [
    "DRIFTS",
    "Drift",
    "Stream",
    "digit_stream",
    "flight_days",
    "flights",
    "moving_classes",
    "permuted_digits",
    "random_label_digits",
]
