"""Virtual secure elements, the only ones that the TSM itself knows from inside."""
