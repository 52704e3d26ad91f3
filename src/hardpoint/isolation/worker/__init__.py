"""The worker's side of isolation: the processes that run a plugin's code."""
