"""One real run of the test profile, which the tests of its results share."""

from pathlib import Path

import pytest

from tests.pipeline.nextflow import NEXTFLOW, Run, succeed


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.pipeline)


@pytest.fixture(scope="session", autouse=True)
def _nextflow_is_set_up() -> None:
    assert NEXTFLOW.exists(), "Nextflow is not set up: run 'make setup' (or 'make test', which does)."


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the real run is made: results/, work/, .nextflow/."""
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="session")
def real_run(folder: Path) -> Run:
    """The test profile, from reference to report."""
    return succeed("-profile", "test", folder=folder)


@pytest.fixture(scope="session")
def results(real_run: Run, folder: Path) -> Path:
    return folder / "results"
