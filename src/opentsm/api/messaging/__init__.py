"""Messages between TSMs, under `/v1/messaging/`: the vocabulary of GlobalPlatform Messaging as JSON."""
