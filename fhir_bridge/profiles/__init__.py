"""Layers of mappings/ become a Profile: read, merged, checked (mapping, section 17)."""
