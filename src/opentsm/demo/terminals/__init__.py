"""Terminals that meet the cards of the demo: point of sale, transit gate, kiosk and badge reader."""
