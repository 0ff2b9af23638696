"""A whole export decided on: previewed, written down for other machines, or kept in the ledger and sent."""
