"""Make the statistics that runs' sets of images are compared with.

With --dataset and --folder: of all pictures in the folder, at the runs' size, with clean-fid's features; kept in the
cache, where every run on that data set finds them. Without: of drawn validation toyfaces, the file that is shipped.
"""

from collections.abc import Sequence
from pathlib import Path

from ldsmc_bench import toyfaces
from ldsmc_bench.cli import Options, entry
from ldsmc_bench.errors import UserError
from ldsmc_bench.photos.statistics import statistics_of_folder
from ldsmc_bench.scoring.reference import make_reference, save_reference
from ldsmc_bench.toyfaces.assets import note_digest
from ldsmc_bench.toyfaces.features import STATISTICS, space
from ldsmc_bench.toyfaces.training import render


@entry
def main(arguments: Sequence[str] | None = None) -> None:
    """Make a reference and print where it is."""
    parser = Options("reference", __doc__)
    parser.add_argument("--dataset", help="the data set whose runs are compared with it, such as ffhq")
    parser.add_argument("--folder", help="the folder of its pictures, subfolders included")
    parser.add_argument("--size", type=int, default=256, help="side of the runs' images (default: 256)")
    parser.add_argument("--faces", type=int, default=2048, help="without --folder: validation faces to draw")
    parser.add_argument("--out", type=Path, default=STATISTICS, help="without --folder: where the file goes")
    options = parser.read(arguments)
    if bool(options.dataset) != bool(options.folder):
        raise UserError("--dataset and --folder belong together")
    if options.dataset in space().shipped:
        raise UserError(f"--dataset {options.dataset}: has its own reference already; name another, such as ffhq")
    if options.folder:
        path, reference = statistics_of_folder(options.dataset, options.folder, options.size)
    else:
        faces = render(toyfaces.ids("validation")[: options.faces])
        path, reference = options.out, make_reference(space(), faces, f"{len(faces)} validation toyfaces")
        save_reference(reference, path)
        note_digest(path)
    print(f"{path}: {reference.name}, network {reference.network[:12]}")
