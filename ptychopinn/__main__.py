"""``python -m ptychopinn`` is the command line."""

from ptychopinn.cli.app import main

if __name__ == "__main__":
    main()
