"""From a message in the inbox to decisions in the ledger, after its sender was answered (intake, section
1)."""
