"""The dispatcher: it wakes workers, frees dead leases, and has deliveries carried out."""
