"""Measurements: speeds as ratios against a peer or a floor of the same run, never as a number alone."""
