"""OpenTSM: a Trusted Service Manager for GlobalPlatform secure elements."""

__version__ = "0.1.0"
