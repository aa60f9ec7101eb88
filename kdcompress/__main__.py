"""`python -m kdcompress` is the `kdcompress` command."""

from kdcompress.cli.app import main

main()
