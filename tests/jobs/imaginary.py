"""What becomes of an imaginary setting in a deployment; run by `tests/test_one_declaration.py`."""

from sqlmodel import select

from jobs.adapters.docker import values
from jobs.rules.container_values import ContainerSpec
from jobs.storage.models import Release
from tests.jobs.bench import Bench


def test_it_is_kept_by_the_release_and_reaches_the_container(bench: Bench) -> None:
    done = bench.deploy(bench.app(imaginary_mb=8))
    with bench.reading() as session:
        (release,) = session.exec(select(Release)).all()
    assert release.container.model_dump()["imaginary_mb"] == 8
    spec: ContainerSpec = bench.world.engine.all_containers[bench.container_of(done.id or 0)].spec
    assert spec.settings.model_dump()["imaginary_mb"] == 8
    assert values.create_options(spec)["mem_limit"] == "512m"
