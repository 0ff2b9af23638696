"""How Alembic reaches the ledger: over the connection it is handed, inside that connection's transaction."""

from alembic import context

from fhir_bridge.ledger.database.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True
)
with context.begin_transaction():
    context.run_migrations()
