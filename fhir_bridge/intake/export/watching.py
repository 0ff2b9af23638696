"""Who is told how an export comes along."""

from __future__ import annotations


class Watching:
    """Hears everything and says nothing; the command line's says it."""

    def said(self, text: str) -> None:
        """Something a person should know: one line that stays. Never patient data."""

    def waiting(self, progress: str, seconds: float) -> None:
        """The server still works; its own words for how far it is, and when it is asked again."""

    def files(self, total: int, done: int) -> None:
        """How many files there are, and how many were here already."""

    def received(self, number: int) -> None:
        """So many bytes more have come."""

    def file_done(self) -> None:
        """A file is whole."""

    def searches(self, kinds: str, total: int, done: int) -> None:
        """How many searches and reads of which types there are now, and how many were made already."""

    def searched(self, number: int) -> None:
        """So many of them are done."""
