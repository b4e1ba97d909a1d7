"""The laboratory's commands: train, rounds, calibrate, evaluate, region, models."""
