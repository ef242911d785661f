"""What is said of a commit without the Dockerfile that the app names."""

import time

from jobs.adapters.buildkit.no_dockerfile import no_dockerfile

START = "there is no Dockerfile at Dockerfile in the commit"


def test_other_dockerfiles_are_named_the_nearest_first() -> None:
    paths = ["web/a/Dockerfile", "docker/Dockerfile", "README.md", "z/prod.dockerfile"]

    assert no_dockerfile("Dockerfile", paths) == (
        f"{START}, but there is docker/Dockerfile, z/prod.dockerfile, web/a/Dockerfile: set "
        "`--dockerfile docker/Dockerfile`, or `--context docker` if that folder is the app"
    )


def test_name_in_another_case_or_with_an_ending_is_found() -> None:
    for path in ("dockerfile", "Dockerfile.prod", "Containerfile", "Dockerfile-web"):
        assert no_dockerfile("Dockerfile", [path]).endswith(f"set `--dockerfile {path}`")


def test_without_any_it_says_what_is_needed() -> None:
    paths = ["package.json", "Dockerfile.dockerignore", "Dockerfile\n", "my Dockerfile", "x" * 5000]

    assert no_dockerfile("Dockerfile", paths).startswith(f"{START}: add one")


def test_many_paths_cost_little() -> None:
    started = time.process_time()
    told = no_dockerfile("Dockerfile", (f"{n}/Dockerfile" for n in range(200_000)))

    assert told.count("/Dockerfile") == 4
    assert time.process_time() - started < 10
