"""A plugin opened in this process."""
