"""Campaigns: what their makers may do with them, and the tick that moves them on."""
