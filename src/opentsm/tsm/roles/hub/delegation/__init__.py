"""Delegated management: tokens by the party that holds the Token Verification key, and receipts to it."""
