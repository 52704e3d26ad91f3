"""A plugin in a process of its own: the worker, the zygote that forks workers, and the host's side of them."""
