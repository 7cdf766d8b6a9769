"""A rehearsal of a campaign: many virtual secure elements, some of which drop their connection."""
