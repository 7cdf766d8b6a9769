"""What every holder of key sets does: open, wrap and check its own sessions. Shared by the roles sei and sp."""
