"""One run, or one shard of it: what is missing → measure → sample → score → keep."""

from collections.abc import Sequence

from hydra.utils import get_object
from omegaconf import DictConfig

from ldsmc_bench.config import Settings, instantiate, problem_of, validate
from ldsmc_bench.errors import notify, warn
from ldsmc_bench.prior.compiled import to_device_and_compile
from ldsmc_bench.prior.digests import has_trained_weights, reason_unscored
from ldsmc_bench.prior.interface import image_shape
from ldsmc_bench.problem.draws import Draw
from ldsmc_bench.problem.problem import load_batch
from ldsmc_bench.records.code_version import code_version, compare_code, config_text
from ldsmc_bench.records.identity import identify, run_id
from ldsmc_bench.records.particles import with_particles
from ldsmc_bench.records.problems import open_problem
from ldsmc_bench.records.record import is_done
from ldsmc_bench.records.status import FIRST, Request, request
from ldsmc_bench.records.store import Store, glances_of_draws, open_store
from ldsmc_bench.running.conclude import conclude, set_changed_aside
from ldsmc_bench.running.context import Run, Trial, observed
from ldsmc_bench.running.device import images_at_once
from ldsmc_bench.running.limits import within_limits
from ldsmc_bench.running.prediction_error import calibrated, calibration_due
from ldsmc_bench.running.progress import clock
from ldsmc_bench.running.restore import dry_run, record_failures, restore_and_keep
from ldsmc_bench.running.threads import heed_load
from ldsmc_bench.scoring.metrics import image_metrics


def run(cfg: DictConfig) -> Store:
    """Bring the run that `cfg` describes to its end, or this shard of it, or to a limit; return where it is kept.

    Finished draws are left alone. Raises UserError for the user's mistakes; an image that cannot be read or restored
    has a failed record, and the others go on.
    """
    began = clock()
    settings = validate(cfg)
    dataset, prior = (instantiate(settings.config[part]["load"]) for part in ("dataset", "prior"))
    problem = problem_of(settings, dataset)
    dry_run(settings, problem, prior)
    announce(settings, len(dataset.ids))

    # What is there, and what is left to do
    identity = identify(settings.config, dataset, prior)
    store = open_store(settings.config["results_dir"], run_id(identity), config_text(identity, settings.device))
    problems = open_problem(store.results_dir, identity) if settings.config["keep_problems"] else None
    ids = list(dataset.ids[: settings.n_images])
    own_trial = settings.config["dataset"].get("trial")  # a row of all draws of an image, and shards of its own
    rows, each = (1, settings.draws) if own_trial else (settings.draws, 1)
    split = settings.config["dataset"].get("split")
    wanted = Request((len(ids),) * rows, settings.labels, tuple(ids[:FIRST]), split, each)
    request(store, wanted, there=len(dataset.ids))
    set_changed_aside(store, dataset)
    shard, shards = (0, 1) if own_trial else (settings.shard, settings.shards)
    pairs = range(rows * len(ids))[shard::shards]  # all images of a draw, then of the next
    mine = [Draw(ids[pair % len(ids)], pair // len(ids)) for pair in pairs]
    tried = glances_of_draws(store, mine)
    kept = {draw: one["code"] for draw, one in tried.items() if is_done(one, settings.draws)}
    done = set(kept)
    if settings.config["particles_as_draws"] and settings.labels.particles > 1:
        there = with_particles(store)
        done = {draw for draw in done if draw.number or draw.image_id in there}
    left = not done >= set(mine)
    code = code_version(*settings.targets)
    compare_code(store.run_id, code, kept.values(), mix=settings.config["mix_code"] or not left)

    # Restore it, batch by batch
    if left:
        prior = to_device_and_compile(prior, settings.device, settings.network_dtype, settings.compile)
    batches = unfinished(mine, done, set(tried), images_at_once(settings, prior)) if left else []
    this = Run(settings, store, problems, ids, batches)
    with observed(this) as progress:
        if batches:
            metrics = image_metrics(image_shape(prior), settings.device) if has_trained_weights(prior) else None
            if calibration_due(settings, prior):
                prior = calibrated(settings, problem, prior)
            trial = Trial(this, problem, prior, instantiate(settings.config["method"]["sample"]), metrics, progress)
            perform = get_object(own_trial) if own_trial else restore_and_keep
            for left_to_do in within_limits(this, progress, began):
                heed_load()
                batch = load_batch(problem, left_to_do, image_shape(prior))
                record_failures(store, settings, "failed", batch.unreadable)
                perform(trial, batch)
        unscored = None if has_trained_weights(prior) else reason_unscored(settings.config["prior"]["name"])
        conclude(store, dataset.ids, settings.device, problems, dataset, unscored)
    return store


def announce(settings: Settings, images: int) -> None:
    """Print whose hyper-parameters the run takes, that several draws are kept without what judges them, that there are
    no particles to keep, and that the data set has fewer images than were asked for."""
    config = settings.config
    if config["tuned"]:
        method, table = config["method"]["name"], config["prior"]["tuning"]
        names = config["tuned_row"], config["task"]["tuning"]
        row = next(name for name in names if name in config["method"]["tuning"][table])
        notify(f"hyper-parameters: of conf/tuned/{table}, {row}, for {method} (prior.tuning, task.tuning)")
    if settings.draws > 1 and not config["keep_problems"] and not config["dataset"].get("trial"):
        warn("keep_problems=false: without truths and masks these draws cannot be judged later; leave it out for that")
    if config["particles_as_draws"] and settings.labels.particles == 1:
        notify(f"particles_as_draws=true: no effect, method={settings.labels.method} has one particle an image")
    if settings.n_images > images:
        warn(f"n_images={settings.n_images}: dataset={config['dataset']['name']} has {images}; all of them are taken")


def unfinished(draws: Sequence[Draw], done: set[Draw], tried: set[Draw], batch_size: int) -> list[list[Draw]]:
    """The batches of `draws` with work left, whole: the partition of a shard is fixed, so that a resumed run repeats an
    undisturbed one byte for byte. Those of which all were `tried`, and some failed, come last: under a limit the others
    may have no other turn."""
    batches = [list(draws[i : i + batch_size]) for i in range(0, len(draws), batch_size)]
    return sorted((batch for batch in batches if not done.issuperset(batch)), key=tried.issuperset)
