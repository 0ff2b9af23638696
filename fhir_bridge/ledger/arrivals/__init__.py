"""How decisions come in: which intent each belongs to, and what becomes of it."""
