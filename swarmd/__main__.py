"""`python -m swarmd` is `swarmd`."""

from swarmd.daemon.main import main

if __name__ == "__main__":
    main()
