"""python -m mematte: the command line, where no `mematte` is on the path."""

from mematte.cli import main

if __name__ == "__main__":
    main()
