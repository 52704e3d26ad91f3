"""What a plugin's calls cost: measured in processes of their own, set beside each other, and told with its noise."""
