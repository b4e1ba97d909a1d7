"""The laboratory's statistics: tables of scores; intervals of shares (`binomial`) and areas (`areas`); thresholds."""
