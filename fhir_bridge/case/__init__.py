"""GATHER: from a trigger to a case; the only place that resolves references."""
