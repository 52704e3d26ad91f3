"""Plugins in processes of their own. `host/` starts workers and calls them; `channel/` has the C of both sides."""
