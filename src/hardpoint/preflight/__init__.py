"""Does a file fit? Every check that runs before any code of the plugin."""
