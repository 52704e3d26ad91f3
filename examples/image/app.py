"""A host application: load a greeter by name, which was installed from a plugin's wheel."""

import hardpoint
from hardpoint.contracts import Greeter

registry = hardpoint.Registry.discover()
lowgerman = registry.load("lowgerman", Greeter, release=">=0.1,<1")
print(lowgerman.greet("World"))
