"""`hardpoint bench`: measures a plugin's calls in separate processes, compares them, and shows how noisy they were."""
