"""Plugins by name: found in folders and packages, allowed by a policy, loaded if they fit."""
