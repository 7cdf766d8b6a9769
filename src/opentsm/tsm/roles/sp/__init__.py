"""The service provider's TSM: the service catalogue, personalisation, and the keys of its own domains."""
