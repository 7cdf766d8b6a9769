"""The SE issuer's TSM: holds the keys of issuer security domains and of new domains until they are handed over."""
