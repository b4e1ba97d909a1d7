"""Commands that steer a running gateway: rules, modes of senders, the bypass, destinations."""
