"""`python -m cli` is `swarm`."""

from cli.main import main

main()
