"""Decides: the Trusted Service Manager's domain, engine, roles and adapters."""
