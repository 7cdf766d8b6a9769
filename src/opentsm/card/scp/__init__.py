"""Secure channel protocols, the off-card side."""
