"""The laboratory's statistics: tables of scores, areas, exact intervals, budgets, thresholds."""
