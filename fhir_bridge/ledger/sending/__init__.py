"""What leaves: claims, attempts committed before a byte is sent, outcomes, and what holds requests back."""
