from pathlib import Path

import pytest

from models.transformer.library_warnings import quiet

quiet()

from tests.models.transformer.checkpoints import ARCHITECTURES, make_checkpoint  # noqa: E402  # after the libraries are quiet


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Architecture → folder of a tiny checkpoint."""
    folder = tmp_path_factory.mktemp("checkpoints")
    return {name: make_checkpoint(folder, name) for name in ARCHITECTURES}
