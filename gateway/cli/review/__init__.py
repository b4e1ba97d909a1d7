"""Films, holds and deliveries in the ledger: listed, shown, decided on."""
