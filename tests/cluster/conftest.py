"""One cluster for all tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.cluster.slurm import Cluster, cluster, why_not


@pytest.fixture(scope="session")
def slurm_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    with cluster(tmp_path_factory.mktemp("slurm") / "cluster") as started:
        yield started
