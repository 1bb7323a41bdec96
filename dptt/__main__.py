"""`python -m dptt`."""

import sys

from dptt.cli import main

if __name__ == "__main__":
    sys.exit(main())
