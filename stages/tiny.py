"""Makes one tiny backbone of the run: `models/runs/<run>/tiny/<name>/`."""

from battles.files import read_table
from battles.paths import RunPaths
from battles.sample_corpus import reading
from models.transformer.library_warnings import quiet
from models.transformer.settings import Tiny
from stages.common import guarded, parser, section, stamp


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--name", required=True)
    given = arguments.parse_args()
    settings, _ = section(given.run, "tiny", Tiny)
    paths = RunPaths(given.run)
    battles = read_table(paths.train_battles)
    # Beside the embedded sample lies a corpus of its world; a user's battles are all the text that there is.
    own = stamp(given.run, "inputs")["train"]["sha256"] is None
    corpus = reading(read_table(paths.corpus), sorted(settings.backbones).index(given.name)) if own else None
    quiet()
    from models.transformer import tiny_backbone  # torch and transformers: only once the input is known to be there

    tiny_backbone.make(given.name, settings, battles, paths.models / "tiny" / given.name, corpus)


if __name__ == "__main__":
    guarded(main)
