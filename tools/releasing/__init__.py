"""From a finished training run to a checkpoint that comes with the package."""
