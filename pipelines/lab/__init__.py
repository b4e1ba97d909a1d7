"""The laboratory: films < measure < train < ask < report. No worker imports any of it."""
