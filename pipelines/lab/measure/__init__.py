"""The laboratory's statistics: intervals of shares are in `binomial`, of areas in `areas`."""
