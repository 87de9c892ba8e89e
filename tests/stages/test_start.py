import pytest

from stages.start import split_flags


@pytest.mark.parametrize(
    ("given", "kept", "jobs"),
    [
        ("", "", []),
        ("n", "n", []),
        (" -- RUN=r SET=a\\ -j9", " -- RUN=r SET=a\\ -j9", []),
        ("k -j5 --jobserver-auth=3,4 -- TRAIN=x", "k -- TRAIN=x", ["-j5"]),
        (" -j --jobserver-auth=3,4", "", ["-j"]),
        (" --no-print-directory -j2 --jobserver-auth=fifo:/tmp/x", "--no-print-directory", ["-j2"]),
    ],
)
def test_the_users_jobs_are_handed_on_and_the_first_makes_jobserver_is_not(
    given: str, kept: str, jobs: list[str]
) -> None:
    assert split_flags(given) == (kept, jobs)
