"""Every metric by its named protocol, read from conf/metrics.yaml, whose head describes the fields.

The value of a metric `per` image is in a record's `metrics`, its mean in the summary's; that of a set is in the
summary's `sets`, with `<name>_se`, its standard error, and `<name>_low` and `<name>_high`, its 95 % interval. Those of
several draws are in neither: `calibration` computes them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import yaml

from ldsmc_bench.files import CONF


@dataclass(frozen=True)
class Protocol:
    """One metric, an entry of conf/metrics.yaml."""

    name: str
    label: str
    latex: str
    unit: str
    range: tuple[float, float]
    better: Literal["higher", "lower", "one", "none"]
    digits: int
    per: Literal["image", "set", "draws", "pooled"]
    how: str
    compute: str | None = None
    load: str | None = None
    network: str | None = None
    file: str | None = None
    fetched: str | None = None
    at: int | None = None
    least: int = 0
    floor: float = -math.inf


PROTOCOLS: Mapping[str, Protocol] = {
    name: Protocol(name, **fields | {"range": tuple(fields["range"])})  # hashable
    for name, fields in yaml.safe_load((CONF / "metrics.yaml").read_text("utf-8")).items()
}
