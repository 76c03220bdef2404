"""As for training itself."""

from training.conftest import no_pictures, one_thread  # noqa: F401
