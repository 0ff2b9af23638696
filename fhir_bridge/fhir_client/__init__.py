"""Reading from a FHIR server, politely and with its leave (intake, "Reading from a FHIR server")."""
