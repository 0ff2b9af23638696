"""Asking a FHIR server to tell us of changes, and noticing what it did not tell (intake, section 1)."""
