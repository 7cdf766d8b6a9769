"""The registry of the central TSM: who is reached through which secure element, and how that changes."""
