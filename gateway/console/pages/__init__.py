"""The pages, one file each: `router` has its routes."""
