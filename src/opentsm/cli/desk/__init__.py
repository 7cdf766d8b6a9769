"""A card on the desk: what `opentsm card list`, `load` … do, between a reader and the core `opentsm.card`."""
