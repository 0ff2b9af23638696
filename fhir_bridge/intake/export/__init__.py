"""`export`: what a FHIR server holds as a folder of NDJSON, by Bulk Data or searches (intake, section 2)."""
