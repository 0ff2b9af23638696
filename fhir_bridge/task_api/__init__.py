"""The contract this bridge talks to: wire models, the async client, and what each answer means (task-api)."""
