"""Work shared among processes: each task's answer as it comes, in memory that does not grow."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from fhir_bridge.errors import UsageError

Task = TypeVar("Task")
Answer = TypeVar("Answer")

AHEAD = 2
"""Tasks that wait for each process: an answer nobody has taken yet is held."""

_work: Callable[[Any], Any]


def cores() -> int:
    """How many processors this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def alone(work: Callable[[], Answer]) -> Answer:
    """What comes of some work in a process of its own: for work that leaves threads behind, as a process
    that has some may not fork. Raises what it raises."""
    [(_, answer)] = _in_processes(lambda _: work(), [0], 1, lambda: None)
    return answer


def each(
    work: Callable[[Task], Answer],
    tasks: Sequence[Task],
    processes: int,
    waiting: Callable[[], None] = lambda: None,
    *,
    apart: bool = False,
) -> Iterator[tuple[Task, Answer]]:
    """Every task with its answer, in the order in which they are done; with one process in this one.

    The processes are forks: `work` may hold whatever was made before, only tasks and answers are handed over.
    `waiting` is called about ten times a second meanwhile. Whatever ends the loop kills them at once. Raises
    UsageError where one of them is killed from outside. `apart`: never in this process, for work that leaves
    threads behind or hears no signal.
    """
    if (not apart and (processes == 1 or len(tasks) < 2)) or not hasattr(os, "fork"):
        for task in tasks:
            waiting()
            yield task, _uncollected(work, task)
        return
    yield from _in_processes(work, tasks, processes, waiting)


def _in_processes(
    work: Callable[[Task], Answer], tasks: Sequence[Task], processes: int, waiting: Callable[[], None]
) -> Iterator[tuple[Task, Answer]]:
    if not tasks:
        return
    context = multiprocessing.get_context("fork")
    pool = ProcessPoolExecutor(min(processes, len(tasks)), context, _begin, (work,))
    try:
        yield from _done(pool, tasks, processes * AHEAD, waiting)
    except BrokenProcessPool:
        raise UsageError(
            "a process of the migration was killed, perhaps for want of memory",
            code="process-killed",
            hint="run it again; with less memory use --processes 1",
        ) from None
    finally:
        for process in multiprocessing.active_children():
            process.kill()
        pool.shutdown(wait=True, cancel_futures=True)


def _done(
    pool: ProcessPoolExecutor, tasks: Sequence[Task], ahead: int, waiting: Callable[[], None]
) -> Iterator[tuple[Task, Any]]:
    running: dict[Future[Any], Task] = {}
    rest = iter(tasks)
    while True:
        while len(running) < ahead and (task := next(rest, None)) is not None:
            running[pool.submit(_do, task)] = task
        if not running:
            return
        finished, _ = wait(running, timeout=0.1, return_when=FIRST_COMPLETED)
        waiting()
        for future in finished:
            yield running.pop(future), future.result()


def _begin(work: Callable[[Any], Any]) -> None:
    """Of a process: what it inherited is not looked at again by the collector; Ctrl-C and the
    end of a terminal are its parent's, and it does not outlive that."""
    global _work
    _work = work
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    gc.freeze()


def _end_with(parent: int) -> None:
    """A parent that was killed says nothing: its processes would wait for it for ever."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _do(task: Any) -> Any:
    return _uncollected(_work, task)


def _uncollected(work: Callable[[Task], Answer], task: Task) -> Answer:
    """What is read and decided holds hardly a cycle: looking for them again and again took a seventh of the
    time. They are looked for once, among what this task made and left behind."""
    gc.disable()
    try:
        return work(task)
    finally:
        gc.collect(0)
        gc.enable()
