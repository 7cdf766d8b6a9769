"""HTTP entry points: parse, call a role, render."""
