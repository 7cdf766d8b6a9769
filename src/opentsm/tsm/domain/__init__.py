"""What the TSM knows: secure elements, card content, services, operations, audit."""
