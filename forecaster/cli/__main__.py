"""``python -m forecaster.cli`` is `tidegate`."""

from forecaster.cli import main

main()
