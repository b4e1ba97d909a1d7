"""`filmgate classify`: what a classifier says of single files, without a gateway."""
