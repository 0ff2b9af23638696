"""The wiring: the only folder that chooses the concrete parts and puts them together."""
