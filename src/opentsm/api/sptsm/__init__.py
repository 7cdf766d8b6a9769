"""The TSM backend of BSI TR-03165, version 1.0.4: the service provider's door."""
