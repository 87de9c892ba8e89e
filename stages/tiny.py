"""Makes one tiny backbone of the run: `models/<run>/tiny/<name>/`."""

from pathlib import Path

from battles.files import read_table
from models.quiet import quiet
from models.settings import Tiny
from stages.common import guarded, parser, section


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--name", required=True)
    given = arguments.parse_args()
    settings, _ = section(given.run, "tiny", Tiny)
    battles = read_table(Path("battles", given.run, "train.parquet"))
    quiet()
    from models import tiny  # torch and transformers: only once the input is known to be there

    tiny.make(given.name, settings, battles, Path("models", given.run, "tiny", given.name))


if __name__ == "__main__":
    guarded(main)
