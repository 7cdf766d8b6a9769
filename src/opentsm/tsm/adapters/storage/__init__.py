"""PostgreSQL behind the storage port: plain SQL files, one repository a module, optimistic versions."""
