"""Space management: quotas, reservations, the fit check, free memory, and cards that are full."""
