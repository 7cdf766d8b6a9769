"""The world behind the ports: database, keystores, bearers, peers."""
