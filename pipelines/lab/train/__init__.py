"""The laboratory's training: gates, regions and classifiers, and the models of others made ours."""
