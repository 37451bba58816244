"""``python -m statechain``: the command line."""

from statechain.cli import main

if __name__ == "__main__":
    main()
