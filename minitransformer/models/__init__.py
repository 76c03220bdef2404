"""The architectures, one file each. ``auto`` finds the one that a checkpoint needs."""
