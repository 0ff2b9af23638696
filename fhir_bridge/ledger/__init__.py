"""What is known and what was done: every accepted trigger, every attempt, every person's act (delivery)."""
