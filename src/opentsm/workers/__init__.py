"""Entry points without a caller: the worker that empties the message bus."""
