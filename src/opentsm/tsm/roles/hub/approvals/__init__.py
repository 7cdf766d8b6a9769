"""Four eyes: dangerous acts that one person asks for and another one decides about."""
