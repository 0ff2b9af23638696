"""DECIDE: a case becomes a decision. Pure: no I/O, clock, randomness, environment or logging."""
