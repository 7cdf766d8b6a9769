"""The SE issuer's TSM: holds issuer security domains' keys, and new domains' keys until hand-over."""
