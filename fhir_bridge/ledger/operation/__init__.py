"""What an operator sees and does: the ledger at a glance, the work list, acts on intents and patients."""
