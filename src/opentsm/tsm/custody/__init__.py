"""What every holder of key sets does: open, wrap and check its own sessions; for the roles sei and sp."""
