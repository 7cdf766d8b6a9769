"""Arrangements: an issuer's configurations with their parties, how they are checked, built and enforced."""
