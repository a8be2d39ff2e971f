"""Reading a file of weights, whatever its format; nothing in it is executed."""

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.prior.unpickle import read_checkpoint


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights of a `.safetensors` file, memory-mapped, or of a torch checkpoint.

    Raises UserError for a file that is absent, truncated or of neither kind, or whose pickle asks for anything else.
    """
    if path.suffix != ".safetensors":
        return read_checkpoint(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; put it there or set the prior's folder")
    try:
        return load_file(path)
    except Exception as error:  # a parser of arbitrary bytes may raise anything
        raise UserError(f"{path}: cannot be read, the file is truncated or not safetensors; fetch it anew") from error
