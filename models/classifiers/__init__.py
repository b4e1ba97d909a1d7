"""Classifiers of chest films: trained, judged, kept as bundles, imported from elsewhere, and asked."""
