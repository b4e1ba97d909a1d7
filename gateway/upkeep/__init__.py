"""Care of what is kept: backup and restore, and whether store and ledger agree."""
