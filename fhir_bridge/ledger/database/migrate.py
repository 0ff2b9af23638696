"""Which schema a ledger has, and bringing it to the newest inside a transaction: whole or not at all."""

from __future__ import annotations

from importlib.resources import files

from sqlalchemy import Connection, inspect, text

from fhir_bridge.errors import LedgerError
from fhir_bridge.ledger.database.tables import REVISION, metadata


def migrate(connection: Connection) -> None:
    """Bring the tables to the newest schema. Alembic is loaded only here, for every command would pay."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    versions = files("fhir_bridge.ledger.database").joinpath("migrations")
    config.set_main_option("script_location", str(versions))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def revision(connection: Connection) -> str | None:
    """The schema's revision; None where there is no table at all. Raises LedgerError for other tables."""
    tables = set(inspect(connection).get_table_names())
    if not tables:
        return None
    if not {"alembic_version", "destination"} <= tables:
        strangers = sorted(tables - set(metadata.tables))
        raise LedgerError(
            f"the database holds another program's tables: {', '.join(strangers[:3])}",
            code="ledger-foreign",
            hint="Give the ledger a database, or a schema, of its own.",
        )
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def refuse_newer(found: str | None) -> None:
    """Raises LedgerError for the schema of a newer release."""
    if found is not None and found > REVISION:
        raise LedgerError(
            f"the ledger was written by a newer release (schema {found}, this release knows {REVISION})",
            code="ledger-newer",
            hint="Upgrade fhir-bridge on this machine.",
        )
