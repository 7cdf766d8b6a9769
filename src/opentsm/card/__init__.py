"""Speaks to a card: codec, GlobalPlatform commands, CAP files, secure channels.

Pure: no I/O, no clock, no randomness.
"""
