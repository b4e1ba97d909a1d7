"""Networks, their training and their bundles: torch and MONAI only, no gateway."""
