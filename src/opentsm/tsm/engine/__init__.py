"""Desired content minus observed content is a plan; a plan becomes scripts; answers become content. Pure."""
