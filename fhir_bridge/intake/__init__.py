"""IN: the doors by which FHIR comes."""
