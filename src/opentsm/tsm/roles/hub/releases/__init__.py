"""Load files: handed in, checked, reviewed, signed, released to card profiles, withdrawn."""
