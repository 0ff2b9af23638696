"""In which order tests run where several processes share them, and what is not looked through meanwhile."""

from __future__ import annotations

import gc
import os
from collections import defaultdict

import pytest

LONG = ("acceptance", "integration", "conformance")
"""The folders whose tests start processes and open sockets and databases, the longest first."""

READ_ONCE = "mapped_corpora"
"""A fixture that takes longer than most modules: who asks for it stays together."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each process begins with its share of the long modules and ends with quick tests.

    pytest-xdist deals out as many tests to each, in their order, and who has none left takes from the others'
    ends. Were the last of a share long, the other processes would wait for it at the end of the run.
    """
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    shares: list[list[pytest.Item]] = [[] for _ in range(processes)]
    modules: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        asks = getattr(item, "fixturenames", ())
        modules[READ_ONCE if READ_ONCE in asks else str(item.path)].append(item)
    long = sorted((module for module in modules.values() if _rank(module) < len(LONG)), key=_rank)
    quick = [item for module in modules.values() if _rank(module) == len(LONG) for item in module]
    for number, module in enumerate(long):
        shares[number % processes] += module
    for share in shares:
        room = max(0, len(items) // processes - len(share))
        share += quick[:room]
        del quick[:room]
    items[:] = [*(item for share in shares for item in share), *quick]


def _rank(module: list[pytest.Item]) -> int:
    folder = module[0].path.parent.name
    return LONG.index(folder) if folder in LONG else len(LONG)


def pytest_collection() -> None:
    """All that is collected stays to the end: to look for garbage in it takes a third of the time."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Nor is it looked through again and again while tests run."""
    gc.freeze()
    gc.enable()
