"""`python -m coincide`."""

import sys

from coincide.cli import main

if __name__ == "__main__":
    sys.exit(main())
