"""How methods, tasks and data sets are called where a reader meets them; a stranger keeps the name it has."""

METHODS = {
    "ldsmc": "LD-SMC",
    "ltds": "LTDS",
    "latent_dps": "LDPS",
    "psld": "PSLD",
    "pfld": "PFLD",
    "resample": "ReSample",
    "latent_daps": "LatentDAPS",
    "dps": "DPS",
}
TASKS = {
    "box": "box inpainting",
    "freeform": "free-form inpainting",
    "random": "random inpainting",
    "half": "half inpainting",
    "gaussian_deblur": "Gaussian deblurring",
    "motion_deblur": "motion deblurring",
    "sr4": "super-resolution ×4",
    "sr8": "super-resolution ×8",
    "denoise": "denoising",
    "destripe": "destriping, bands",
    "destripe_lines": "destriping, lines",
    "destripe_random": "destriping, random",
    "colorize": "colorization",
    "hdr": "high dynamic range",
    "phase_retrieval": "phase retrieval",
    "linear": "random linear measurements",
}
DATASETS = {"ffhq": "FFHQ", "imagenet": "ImageNet", "mixture": "Gaussian mixture"}

_NAMES = {"method": METHODS, "task": TASKS, "dataset": DATASETS}


def called(key: str, value: object) -> str:
    """The name of a run's `method`, `task` or `dataset`; other values as they are, whole numbers without a point."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return _NAMES.get(key, {}).get(str(value), str(value))


def order(key: str, value: object) -> tuple[int, float, str]:
    """Sorts known names as they stand here, then numbers by size, then the rest by name."""
    known = list(_NAMES.get(key, {}))
    if value in known:
        return (known.index(str(value)), 0.0, "")
    number = isinstance(value, int | float)
    return (len(known) + (0 if number else 1), float(value) if isinstance(value, int | float) else 0.0, str(value))
