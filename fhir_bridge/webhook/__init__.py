"""The first door: Subscription webhooks, kept before they are acknowledged (intake, section 1)."""
