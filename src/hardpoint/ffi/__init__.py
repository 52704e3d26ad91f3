"""libc and the ABI's numbers, for cffi."""
