"""Packaged card profiles, one JSON file each."""
