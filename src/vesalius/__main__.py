"""``python -m vesalius``: the same as the command."""

from vesalius.cli import main

if __name__ == "__main__":
    main()
