"""Other TSMs: who they are, and what they may ask of the parties that live here."""
