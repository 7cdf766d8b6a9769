"""Carries bytes on the device: a Local Agent of GlobalPlatform SERAM 2.0.0."""
