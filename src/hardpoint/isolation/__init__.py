"""Plugins in processes of their own. `host/` is trusted, `worker/` runs the plugin; what both sides share is here."""
