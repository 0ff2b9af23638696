"""The task API, emulated as a product of its own: the same wire models, simulated calls, scripted faults."""
