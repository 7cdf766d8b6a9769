"""The opentsm command."""
