"""A host application: it asks the registry for a greeter by name, which a plugin wheel has brought."""

import hardpoint
from hardpoint.contracts import Greeter

registry = hardpoint.Registry.discover()
lowgerman = registry.load("lowgerman", Greeter, release=">=0.1,<1")
print(lowgerman.greet("World"))
