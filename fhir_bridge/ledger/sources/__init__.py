"""Messages, kept before their sender is answered; and what sources told and did not tell."""
