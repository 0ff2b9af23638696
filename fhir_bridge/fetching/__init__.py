"""What a decision lacks is fetched from the source's FHIR server (intake, "Reading from a FHIR server")."""
