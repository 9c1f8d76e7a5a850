"""``python -m grape_dgl`` is the command ``grape-dgl``."""

from __future__ import annotations

import sys

from grape_dgl.cli import main

if __name__ == "__main__":
    sys.exit(main())
