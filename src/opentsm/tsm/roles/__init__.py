"""The parties: SE issuer (sei), service provider (sp), hub."""
