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

    Iterations may differ in cost: work is in any unit in which they can be added up.

    Args:
        title: What is being done.
        done: Work that was done before this run.
        total: Work in all.
        every: Seconds between two lines.
    """

    def __init__(self, title: str, done: float, total: float, every: float = 10.0) -> None:
        self.title, self.total, self.every = title, total, every
        self._first = self._done = done
        self._begun = self._last = time.monotonic()

    def due(self, work: float) -> bool:
        """Count one iteration, of so much work; whether it is time for a line."""
        self._done += work
        return time.monotonic() - self._last >= self.every

    def log(self, line: str) -> None:
        """Write a line, and when all will be done; some work has been counted before."""
        self._last = time.monotonic()
        eta = (self._last - self._begun) / (self._done - self._first) * (self.total - self._done)
        MMLogger.get_current_instance().info(
            f"{line}; {self.title} {self._done / self.total:.0%}, eta {timedelta(seconds=int(eta))}"
        )
