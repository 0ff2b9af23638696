"""Reading FHIR: typed views, documents, dates, references, versions, validation."""
