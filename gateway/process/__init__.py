"""What every process of the gateway needs of its machine: clocks, guarded loops, traces, its own standing."""
