"""Several questions at once, all of them over when one fails: nothing goes on asking behind our back."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

Answer = TypeVar("Answer")


async def together(questions: Iterable[Coroutine[Any, Any, Answer]]) -> list[Answer]:
    """The answers in order. Where one raises, the others are ended first, and it is raised as it is."""
    tasks = [asyncio.create_task(question) for question in questions]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
