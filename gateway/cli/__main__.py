"""`python -m gateway.cli`, for where the command `filmgate` is not on the PATH."""

from gateway.cli import main

main()
