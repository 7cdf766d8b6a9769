"""What the roles need from the world, as Protocols."""
