"""Errors, identifiers and state tables that every other part of the TSM uses."""
