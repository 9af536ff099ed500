"""``python -m gac_ref`` is ``gac-ref``."""

from gac_ref.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
