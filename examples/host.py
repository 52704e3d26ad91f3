"""A host: load plugins for two contracts. A missing plugin does not stop the others."""

import hardpoint
from hardpoint.contracts import Greeter, Transformer

for name in ("english", "spanish", "french"):
    try:
        greeter = hardpoint.load(f"build/plugins/{name}.so", Greeter)
        print(f"[{greeter.lang()}] {greeter.greet('World')}")
    except hardpoint.PluginNotFoundError as error:
        print(f"Plugin not found: {error.path}")
    except hardpoint.HardpointError as error:
        print(f"Plugin failed: {error}")

for name in ("uppercase", "reverse"):
    with hardpoint.loaded(f"build/plugins/{name}.so", Transformer) as transformer:
        print(f'{name}: "Hello, World!" -> "{transformer.transform("Hello, World!")}"')
