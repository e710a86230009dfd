"""Progress of the phases that are not training iterations."""

import time
from collections.abc import Iterable, Iterator
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
        if now - last >= every:
            eta = (now - begun) / done * (total - done) if done else float("nan")
            logger.info(f"{title}: {done} of {total}, eta {eta:.0f} s")
            last = now
        yield item
