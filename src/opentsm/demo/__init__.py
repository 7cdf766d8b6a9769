"""The demo story: service provider, POS, gate and kiosk as users of the public APIs."""
