"""Robustness campaigns: every reader and the virtual card against inputs that nobody would send."""
