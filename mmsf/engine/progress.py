"""Progress of the phases that are not training iterations."""

import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TypeVar

from mmengine.logging import MMLogger

Item = TypeVar("Item")


def with_progress(items: Iterable[Item], total: int, title: str, every: float = 10.0) -> Iterator[Item]:
    """Pass items on and log how far it is, with an ETA.

    Args:
        items: What to go through.
        total: How many there are.
        title: What is being done.
        every: Seconds between two lines; short phases stay silent.
    """
    logger = MMLogger.get_current_instance()
    begun = last = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - last >= every:
            logger.info(f"{title}: {done} of {total}, eta {(now - begun) / done * (total - done):.0f} s")
            last = now
        yield item


class Progress:
    """Says how far a long row of iterations is, with an ETA.

    Args:
        title: What is being done.
        done: Iterations that were done before this run.
        total: Iterations in all.
        every: Seconds between two lines.
    """

    def __init__(self, title: str, done: int, total: int, every: float = 10.0) -> None:
        self.title, self.total, self.every = title, total, every
        self._first = self._done = done
        self._within = 0
        self._begun = self._last = time.monotonic()

    def due(self) -> bool:
        """Count one iteration; whether it is time for a line."""
        self._within += 1
        return time.monotonic() - self._last >= self.every

    def add(self, iterations: int) -> None:
        """So many iterations of a part are complete."""
        self._done, self._within = self._done + iterations, 0

    def log(self, line: str) -> None:
        """Write a line, and when all will be done."""
        self._last = time.monotonic()
        done = self._done + self._within
        eta = (self._last - self._begun) / max(1, done - self._first) * (self.total - done)
        MMLogger.get_current_instance().info(
            f"{line}; {self.title} {done / self.total:.0%}, eta {timedelta(seconds=int(eta))}"
        )
