"""A transaction's statements, put straight to the driver; what they answer is looked at where it is needed.

SQLAlchemy's way to the driver and back takes a statement that is long compiled as long as many rows take. And
to PostgreSQL, statements whose answers nobody looks at in between go one after the other without waiting
(pipeline mode): else a transaction would wait for the server a dozen times.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from fhir_bridge.ledger.records import Written

Answers = Callable[[], Awaitable[list[Written]]]
"""Looks at what was told of writes that were asked for, and does what is seldom to be done then."""


class Told:
    """What a statement answers; to look is to wait for it and for all that were asked before."""

    def __init__(self, asking: Asking, cursor: Any) -> None:
        self._asking = asking
        self._cursor = cursor

    @property
    def rowcount(self) -> int:
        """How many rows were changed."""
        self._asking.wait()
        return int(self._cursor.rowcount)

    def all(self) -> list[Any]:
        """The rows, as the driver gives them."""
        self._asking.wait()
        with self._asking.told():
            return list(self._cursor.fetchall())

    def one_or_none(self) -> Any:
        """The only row there is."""
        rows = self.all()
        assert len(rows) < 2
        return rows[0] if rows else None

    def scalar(self) -> Any:
        """The first value of the first row; None where there is none."""
        rows = self.all()
        return rows[0][0] if rows else None


class Asking:
    """Asks in a transaction that SQLAlchemy begins and ends; a context manager, and all is answered at its
    end.

    Has what the ledger's functions ask of an AsyncConnection, answered in this thread.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._driver: Any = connection.connection.driver_connection
        self._in_one: AbstractContextManager[Any] | None = None
        self._goes_in_one = _has_pipelines(connection)
        # psycopg by itself would have a statement planned five times before it has it prepared.
        self._options = {"prepare": True} if connection.dialect.driver == "psycopg" else {}
        self.dialect = connection.dialect

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        in_one, self._in_one = self._in_one, None
        if in_one is not None:
            with self.told():
                in_one.__exit__(kind, error, trace)

    def ask(self, text: str, parameters: Any) -> Told:
        """Put a statement, in the driver's words, once for each of a list of rows. Raises DBAPIError, here or
        where somebody looks.
        """
        with self.told():
            if self._goes_in_one and self._in_one is None:
                self._in_one = self._driver.pipeline()
                self._in_one.__enter__()
            cursor = self._driver.cursor()
            if isinstance(parameters, list):
                cursor.executemany(text, parameters)
            else:
                cursor.execute(text, parameters, **self._options)
            return Told(self, cursor)

    def wait(self) -> None:
        """Until all that was asked is answered. Raises DBAPIError."""
        self.__exit__(None, None, None)

    @contextmanager
    def told(self) -> Iterator[None]:
        """The driver's errors come out as SQLAlchemy's."""
        driver: Any = self.dialect.loaded_dbapi
        try:
            yield
        except driver.Error as error:
            gone = self.dialect.is_disconnect(error, self._driver, None)
            if gone:
                self._connection.invalidate(error)
            raise DBAPIError.instance(
                "", None, error, driver.Error, hide_parameters=True, connection_invalidated=gone
            ) from None

    async def execute(self, *asked: Any, **options: Any) -> Any:
        """As SQLAlchemy does."""
        self.wait()
        return self._connection.execute(*asked, **options)

    async def exec_driver_sql(self, *asked: Any, **options: Any) -> Any:
        """As SQLAlchemy does."""
        self.wait()
        return self._connection.exec_driver_sql(*asked, **options)


def _has_pipelines(connection: Connection) -> bool:
    """An old libpq has none."""
    if connection.dialect.driver != "psycopg":
        return False
    from psycopg import Pipeline

    return Pipeline.is_supported()
