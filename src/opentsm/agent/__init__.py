"""Carries bytes on a device: a Local Agent of GlobalPlatform SERAM 2.0.0 between a server and a card.

It knows no card keys and no card content, imports nothing else of this project, and takes its
reader, clock and HTTP client as arguments. The wire is described in docs/reference/agent-protocol.md.
"""
