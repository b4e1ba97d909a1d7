"""Looks at the ledger, wakes workers, frees leases of dead workers; its courier carries what is owed."""
