"""`python -m hwnas`, which is what torchrun starts."""

from hwnas.cli import main

if __name__ == "__main__":
    main()
