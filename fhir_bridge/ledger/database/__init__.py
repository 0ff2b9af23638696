"""What a ledger is kept in: tables, connections, versions of the schema, and statements over many rows."""
