"""The host's side of isolation: trusted code that treats everything from a worker as hostile."""
