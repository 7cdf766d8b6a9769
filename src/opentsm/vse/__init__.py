"""Is a card: the virtual secure element, an independent reading of Card Specification 2.3.1."""
