"""The central path: issuer, central TSM and a provider with a TSM of its own, each with keys of its own."""
