"""Running the migrations over a connection, inside its transaction: all of them or none."""

from __future__ import annotations

from importlib.resources import files

from sqlalchemy import Connection


def migrate(connection: Connection) -> None:
    """Bring the tables to the newest schema. Alembic is loaded only here, for every command would pay."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(files("fhir_bridge.ledger").joinpath("migrations")))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
