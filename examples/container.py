"""The entry point of the Dockerfile's image: run `hardpoint` with the given arguments, or else the example host."""

import runpy
import sys
from pathlib import Path

from hardpoint.cli import main

if sys.argv[1:]:
    sys.exit(main())
runpy.run_path(str(Path(__file__).with_name("host.py")), run_name="__main__")
