"""GlobalPlatform commands, responses, registry, load files, keys (Card Specification 2.3.1)."""
