"""From an intent that is ready to a task at the endpoint: claim, check, commit, send, settle (delivery)."""
