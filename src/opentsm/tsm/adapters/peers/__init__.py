"""Ways to reach another party's TSM."""
