"""What protects people and their data: do-not-call, crosswalk, retention, keys, audit, disclosures."""
