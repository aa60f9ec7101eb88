"""`python -m kdcompress` is the `kdcompress` command."""

from kdcompress.cli.start import main

main()
