"""A source and the endpoint tried step by step, and what to do about each step (intake, section 3)."""
