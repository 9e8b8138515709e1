"""``python -m ghostfit`` is the command `ghostfit`."""

from ghostfit.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
