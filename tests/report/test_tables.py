"""Tables of a store: what they show, mark and say of it, in all three forms."""

import csv
import io
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pandas as pd
import pytest
import torch

from ldsmc_bench.errors import UserError
from ldsmc_bench.files import CONF
from ldsmc_bench.records.status import statuses
from ldsmc_bench.records.store import Store, read_summary
from ldsmc_bench.report import frame
from ldsmc_bench.report.statistics import UNPAIRED
from ldsmc_bench.report.table import table as terminal
from ldsmc_bench.report.tables import __main__ as tables
from ldsmc_bench.report.tables import typeset
from ldsmc_bench.report.tables.caption import caption, choices, details
from ldsmc_bench.report.tables.content import Table, letter
from ldsmc_bench.report.tables.layout import load_layout, load_layouts
from ldsmc_bench.report.tables.published import with_published
from ldsmc_bench.running.conclude import conclude
from tests.report.made import made, psnr
from tests.report.stored import stored

HERE = Path(__file__).parent
LAYOUT = """
title: Restored faces
where: {dataset: ffhq}
rows: [method, particles]
columns: task
metrics: [fid_clean, psnr, ssim]
"""
SMALL = "title: Small\nrows: [method, particles]\ncolumns: task\nmetrics: [psnr]\n"


def table_of(results: Path, text: str = SMALL, **options: Any) -> Table:
    file = results / "layout.yaml"
    file.write_text(text)
    [table] = tables.fill(results, [load_layout(file, **options)])
    assert table is not None
    return table


def lines(table: Table) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(typeset.spreadsheet(table))))


def printed(table: Table) -> dict[str, str]:
    """What a one-column table prints, by method and particles."""
    return {f"{line['method']}{line['particles']}": line["printed"] for line in lines(table)}


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """Two seeds of LD-SMC; a tie in print, a failure, a task that is skipped, one not begun, one not done."""
    base = [24.0, 25.5, 23.0, 28.5, 26.0, 24.5, 27.0, 22.5]
    every = {"dataset": "ffhq", "variant": "released"}

    def images(shift: float, spread: float = 0.0) -> dict[str, Any]:
        values = [v + shift + spread * (i % 3) for i, v in enumerate(base)]
        return {f"{i:05}": {"psnr": v, "ssim": v / 32} for i, v in enumerate(values)}

    for seed in (0, 1):
        made(tmp_path, "ldsmc", "box", images(1 + 0.2 * seed, 0.3 * seed), particles=5, seed=seed, **every,
             sets={"fid_clean": 31.25 + seed, "fid_clean_se": 2.5})  # fmt: skip
    made(tmp_path, "ldsmc", "sr8", images(0.5), particles=5, **every, sets={"fid_clean": 30.0, "fid_clean_se": 2.0})
    made(tmp_path, "psld", "box", images(0.001) | {"00007": "the result is not finite"}, **every,
         sets={"fid_clean": 39.0, "fid_clean_se": 2.0})  # fmt: skip
    made(tmp_path, "psld", "sr8", images(-3, 0.5), **every, sets={"fid_clean": 52.5, "fid_clean_se": 3.0})
    made(tmp_path, "resample", "box", dict(list(images(0.0).items())[:6]), wanted=8, **every)
    why = "resample: needs a pseudo-inverse & 100% of it"
    made(tmp_path, "resample", "sr8", {f"{i:05}": why for i in range(8)}, status="skipped", **every)
    made(
        tmp_path, "pfld", "box", images(-0.5, 0.6), particles=5, **every, sets={"fid_clean": 32.0, "fid_clean_se": 2.0}
    )
    return tmp_path


@pytest.mark.parametrize("suffix", ["tex", "md", "csv"])
def test_golden(golden: Path, suffix: str) -> None:
    """Remade with UPDATE_GOLDEN=1; then look at the difference."""
    text = tables.WRITERS[suffix](with_published(table_of(golden, LAYOUT)))
    file = HERE / f"golden_tables.{suffix}"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


def test_numbers_are_those_of_pandas(golden: Path) -> None:
    rows, runs = frame.rows(golden), frame.runs(golden)
    found = {(r["method"], r["task"], r["metric"]): r for r in lines(table_of(golden, LAYOUT))}
    for run in runs[(runs.method == "psld")].itertuples():
        values = rows[(rows.run_id == run.run_id) & (rows.status == "ok")].ssim
        line = found["psld", run.task, "ssim"]
        assert float(line["value"]) == pytest.approx(values.mean()) and int(line["n"]) == len(values)
        assert float(line["se"]) == pytest.approx(values.std() / len(values) ** 0.5)
    both = rows[rows.run_id.isin(runs[(runs.method == "ldsmc") & (runs.task == "box")].run_id)]
    line = found["ldsmc", "box", "psnr"]
    assert float(line["value"]) == pytest.approx(both.psnr.mean()) and line["seeds"] == "2"
    parts = [float(line[part]) for part in ("se_images", "se_seeds", "se_rest")]
    assert sum(part**2 for part in parts) == pytest.approx(float(line["se"]) ** 2)
    assert float(found["ldsmc", "box", "fid_clean"]["value"]) == 31.75


def test_best_and_second_are_what_prints_alike(tmp_path: Path) -> None:
    for method, value in {"a": 20.001, "b": 20.004, "c": 19.996, "d": 19.99, "e": 12.0, "f": 19.991}.items():
        made(tmp_path, method, "box", psnr([value]))
    marks = {line["method"]: line["mark"] for line in lines(table_of(tmp_path))}
    assert marks == {"a": "best", "b": "best", "c": "best", "d": "second", "e": "", "f": "second"}
    lower = SMALL.replace("[psnr]", "[{name: psnr, better: lower}]")
    assert next(line["method"] for line in lines(table_of(tmp_path, lower)) if line["mark"] == "best") == "e"
    one = SMALL.replace("[psnr]", "[{name: psnr, better: one}]")
    assert next(line["method"] for line in lines(table_of(tmp_path, one)) if line["mark"] == "best") == "e"
    none = SMALL.replace("[psnr]", "[{name: psnr, better: none}]")
    assert {line["mark"] for line in lines(table_of(tmp_path, none))} == {""}


def test_a_lone_row_is_not_the_best(tmp_path: Path) -> None:
    made(tmp_path, "a", "box", psnr([20.0, 21.0]))
    table = table_of(tmp_path)
    assert lines(table)[0]["mark"] == "" and "bold" not in " ".join(details(table))


def test_rows_are_ranked_within_their_block(tmp_path: Path) -> None:
    for task, value in {"box": 20.0, "sr8": 30.0}.items():
        for method in ("a", "b"):
            made(tmp_path, method, task, psnr([value + (method == "a")]))
    table = table_of(tmp_path, SMALL.replace("columns: task", "blocks: [task]"))
    assert [line["mark"] for line in lines(table)] == ["best", "second"] * 2


def test_runs_of_one_task_with_other_noise_are_no_rivals(tmp_path: Path) -> None:
    """No method has both levels here, so that none of their settings told them apart, and all were ranked together."""
    for method, noise_std in {"a": 0.01, "b": 0.01, "c": 0.2, "d": 0.2}.items():
        made(tmp_path, method, "box", psnr([20.0 + 10 * noise_std + (method in "ac")]), noise_std=noise_std)
    table = table_of(tmp_path)
    assert [(line["method"], line["mark"]) for line in lines(table)] == [
        ("a", "best"),
        ("b", "second"),
        ("c", "best"),
        ("d", "second"),
    ]
    assert "*noise_std=0.01*" in typeset.markdown(table).replace("\\", "")


def test_the_dagger_is_for_what_a_paired_test_cannot_tell_apart(tmp_path: Path) -> None:
    """Differences as small as the spread of images are told apart, because images are paired; mixed signs are not."""
    base = [20.0 + 3 * (i % 7) for i in range(20)]
    made(tmp_path, "best", "box", psnr(base))
    made(tmp_path, "worse", "box", psnr([value - 0.1 for value in base]))
    made(tmp_path, "alike", "box", psnr([value - 0.1 + (-1) ** i for i, value in enumerate(base)]))
    table = table_of(tmp_path)
    assert {line["method"]: line["like_best"] for line in lines(table)} == {"best": "0", "worse": "0", "alike": "1"}
    assert "†" in typeset.markdown(table) and r"\dagger" in typeset.latex(table)
    assert any("Wilcoxon" in s and "Holm" in s for s in details(table)) and "(† ties)" in caption(table)
    for line in lines(table):  # five images
        made(tmp_path / "few", line["method"], "box", psnr(base[:5] if line["method"] == "best" else base[5:10]))
    assert "†" not in typeset.latex(few := table_of(tmp_path / "few")) + typeset.markdown(few) + caption(few)


def test_holm_counts_the_rows_of_the_column(tmp_path: Path) -> None:
    """Six images, all better: p = 2/64 = 0.031 alone, and 0.0625 as one of two."""
    base = [20.0, 21, 22, 23, 24, 25]
    made(tmp_path, "best", "box", psnr(base))
    made(tmp_path, "x", "box", psnr([value - 0.1 * (1 + i) for i, value in enumerate(base)]))
    assert [line["like_best"] for line in lines(table_of(tmp_path))] == ["0", "0"]
    made(tmp_path, "y", "box", psnr([value - 0.2 * (1 + i) for i, value in enumerate(base)]))
    assert [line["like_best"] for line in lines(table_of(tmp_path))] == ["0", "1", "1"]


def test_set_metrics_are_compared_by_their_stored_errors(tmp_path: Path) -> None:
    text = SMALL.replace("[psnr]", "[toyfaces_fid]")
    for method, value in {"a": 10.0, "b": 12.0, "c": 20.0}.items():
        made(tmp_path, method, "box", psnr([20.0] * 8), sets={"toyfaces_fid": value, "toyfaces_fid_se": 1.0})
    table = table_of(tmp_path, text)
    assert {line["method"]: line["like_best"] for line in lines(table)} == {"a": "0", "b": "1", "c": "0"}
    assert f"FID*: {UNPAIRED}." in details(table) and "no paired test" in UNPAIRED
    assert not any(UNPAIRED in sentence for sentence in details(table_of(tmp_path)))


def test_few_images_bias_fid_in_the_notes_of_a_table_that_has_it(tmp_path: Path) -> None:
    doubt = "8 images are fewer than the 64 feature dimensions: FID is biased upwards, trust KID more"
    sets: dict[str, Any] = {"toyfaces_fid": 9.0, "warning": f"{doubt}; not computed: NIQE; then: rescore"}
    made(tmp_path, "ldsmc", "box", psnr([20.0] * 8), sets=sets)
    made(tmp_path, "psld", "box", psnr([20.0] * 8), sets={"toyfaces_fid": 8.0})
    notes = typeset.latex_notes(table_of(tmp_path, SMALL.replace("[psnr]", "[psnr, toyfaces_fid]")))
    assert notes.count(f"{doubt}.\n") == 1 and "NIQE" not in notes
    assert "biased" not in typeset.latex_notes(table_of(tmp_path))


def test_runs_of_other_settings_are_neither_averaged_nor_picked(tmp_path: Path) -> None:
    ids = [made(tmp_path, "ldsmc", "box", psnr([20.0 + k, 21.0 + k]), kappa1=k) for k in (0.5, 1.0)]
    made(tmp_path, "ldsmc", "box", psnr([22.0, 24.0]), kappa1=1.0, seed=1)  # another seed is not another setting
    table = table_of(tmp_path)
    assert table.split == ["sample.kappa1"]
    assert [(line["sample.kappa1"], line["value"], line["seeds"]) for line in lines(table)] == [
        ("0.5", "21.0", "1"), ("1.0", "22.25", "2"),
    ]  # fmt: skip
    said = " ".join(choices(table))
    assert "sample.kappa1" in said and "where" in said and all(run_id in said for run_id in ids)
    assert ids[0] in typeset.latex_notes(table).replace(r"\_", "_") and ids[0] in typeset.markdown(table)
    chosen = table_of(tmp_path, SMALL + "where: {sample.kappa1: 1.0}\n")
    assert chosen.split == [] and choices(chosen) == [] and [line["value"] for line in lines(chosen)] == ["22.25"]


def test_rows_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for particles in (10, 1, 5):
        made(tmp_path, "ldsmc", "box", psnr([20.0, 21.0]), particles=particles)
    assert [line["particles"] for line in lines(table_of(tmp_path))] == ["1", "5", "10"]


def test_a_variant_is_said_instead_of_what_it_stands_for(tmp_path: Path) -> None:
    made(tmp_path, "ldsmc", "box", psnr([20.0]), variant="paper", chain="paper", choose="draw")
    made(tmp_path, "ldsmc", "box", psnr([21.0]), variant="released", chain="released", choose="argmax")
    assert table_of(tmp_path).split == ["variant"]


def test_a_variant_that_is_but_another_word_parts_nothing(tmp_path: Path) -> None:
    for seed, variant in enumerate(("default", "paper")):
        made(tmp_path, "ldsmc", "box", psnr([20.0, 21.0]), seed=seed, variant=variant, chain="paper")
    table = table_of(tmp_path)
    assert table.split == [] and lines(table)[0]["seeds"] == "2"


def test_a_seed_that_is_not_done_waits(tmp_path: Path) -> None:
    made(tmp_path, "ldsmc", "box", psnr([20.0, 21.0, 22.0]))
    made(tmp_path, "ldsmc", "box", psnr([30.0]), seed=1, wanted=3)
    table = table_of(tmp_path)
    assert [line["value"] for line in lines(table)] == ["21.0"]
    assert list(table.notes) == ["seed 1 left out: 1 of 3 images so far"]


def test_a_run_that_is_not_done_says_so(tmp_path: Path) -> None:
    made(tmp_path, "ldsmc", "box", psnr([20.0]) | {"b": "out of memory"}, wanted=3)
    table = table_of(tmp_path)
    assert list(table.notes) == ["1 of 3 images failed, left out", "1 of 3 images so far, not ranked"]
    assert "20.00 <sup>a,b</sup>" in typeset.markdown(table)
    assert r".00{\scriptsize\raisebox{.4ex}{\,a,b}}" in typeset.latex(table)


def test_an_unfinished_run_has_no_rank(tmp_path: Path) -> None:
    made(tmp_path, "ldsmc", "box", psnr([30.0]), wanted=3)
    for method, shift in {"psld": 1.0, "dps": 0.0}.items():
        made(tmp_path, method, "box", psnr([20.0 + shift, 21.0 + shift, 22.0 + shift]))
    marks = {line["method"]: (line["mark"], line["like_best"]) for line in lines(table_of(tmp_path))}
    assert marks == {"ldsmc": ("", "0"), "psld": ("best", "0"), "dps": ("second", "1")}


def test_an_image_that_not_every_seed_has_is_left_out_and_told(tmp_path: Path) -> None:
    made(tmp_path, "ldsmc", "box", psnr([20.0, 22.0, None]))
    made(tmp_path, "ldsmc", "box", psnr([21.0, 23.0, 90.0]), seed=1)
    table = table_of(tmp_path)
    assert [line["value"] for line in lines(table)] == ["21.5"]
    assert list(table.notes) == ["1 images that not every seed has are left out"]


def test_tables_the_terminal_and_the_status_count_the_same_rows(tmp_path: Path) -> None:
    """All rows of a run: here that of a picture too, which is no longer among the first of its data set."""
    store = Store(
        tmp_path / "runs" / (name := made(tmp_path, "ldsmc", "box", psnr([20.0, 22.0, 27.0]), wanted=2)), name
    )
    conclude(store, ["a", "b"], torch.device("cpu"), Mock())
    summary, [line], [status] = read_summary(store), lines(table_of(tmp_path)), statuses(tmp_path)
    assert summary is not None and summary["n"] == int(line["n"]) == status.done == 3
    assert summary["metrics"]["psnr"]["mean"] == float(line["value"]) == 23.0
    assert " 3\n" in terminal([summary]) and "3 images" in " ".join(details(table_of(tmp_path)))


def test_rows_of_other_seeds_than_most_say_so_and_a_shared_n_is_in_the_notes(tmp_path: Path) -> None:
    for method, seeds in {"ldsmc": (0, 1), "psld": (0, 1), "dps": (0,)}.items():
        for seed in seeds:
            made(tmp_path, method, "box", psnr([20.0 + seed, 21.0]), particles=5, seed=seed)
    made(tmp_path, "dps", "box", psnr([20.0]), particles=5, seed=1, wanted=2)  # said otherwise
    made(tmp_path, "pfld", "box", psnr([20.0, 21.0]), particles=5)
    table = table_of(tmp_path)
    notes = {line["method"]: line["notes"] for line in lines(table)}
    assert notes["pfld"] == "seed 0; most rows have seeds 0, 1" and not notes["psld"]
    assert notes["dps"] == "seed 1 left out: 1 of 2 images so far"
    assert "N=5" in details(table)[1] and "| N |" not in typeset.markdown(table)
    assert r"\textsuperscript{a}" in typeset.latex_notes(table)


def test_skipped_runs_have_a_note_a_reason_and_no_block_of_their_own(tmp_path: Path) -> None:
    made(tmp_path, "ldsmc", "box", psnr([20.0, 21.0]))
    for seed in (0, 1):
        for task, method in ("box", "ddnm"), ("box", "ddrm"), ("phase", "ddnm"):
            why = f"{method}: it is not linear"
            made(tmp_path, method, task, {"a": why, "b": why}, seed=seed, status="skipped")
    assert list(table_of(tmp_path).notes) == ["skipped: it is not linear"] and table_of(tmp_path).columns == ["box"]
    assert table_of(tmp_path, where={"task": ["phase"], "method": ["DDNM+"]}).columns == ["phase"]


def test_a_name_as_printed_chooses_and_an_unknown_one_is_told_with_those_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for method in ("ldsmc", "psld"):
        made(tmp_path, method, "box", psnr([20.0]))
    shown = table_of(tmp_path, where={"method": ["PSLD", "LD-SMC"]}).rows
    assert [row.key[0] for row in shown] == ["psld", "ldsmc"]
    assert tables.main([f"results_dir={tmp_path}", "where=method=ldsm"]) == 2
    assert capsys.readouterr().err == "error: where=method=ldsm: no run has this; did you mean ldsmc?\n"


def test_empty_cells_are_explained(golden: Path) -> None:
    assert "-- no number." in details(table_of(golden, LAYOUT))


def test_a_metric_that_no_run_has_gets_no_column(tmp_path: Path) -> None:
    made(tmp_path, "ldsmc", "box", psnr([20.0]))
    table = table_of(tmp_path, SMALL.replace("[psnr]", "[niqe, psnr, fid_clean]"))
    assert [metric.name for metric in table.metrics] == ["psnr"]
    assert "No run has NIQE, FID." in details(table)


def test_a_sweep_shows_what_differs_in_nothing_else(tmp_path: Path) -> None:
    for particles in (1, 5):
        made(tmp_path, "ldsmc", "box", psnr([20.0 + particles]), particles=particles)
    made(tmp_path, "ldsmc", "sr8", psnr([20.0]))  # one number of particles only
    made(tmp_path, "psld", "box", psnr([20.0]))
    table = table_of(tmp_path, SMALL + "sweep: particles\n")
    assert [(line["method"], line["particles"], line["task"]) for line in lines(table)] == [
        ("ldsmc", "1", "box"), ("ldsmc", "5", "box"),
    ]  # fmt: skip


def test_a_sweep_over_an_argument_shows_no_stranger(tmp_path: Path) -> None:
    for s in (0.1, 0.2):
        made(tmp_path, "ldsmc", "box", psnr([20.0 + s]), s=s)
    made(tmp_path, "psld", "box", psnr([21.0]))
    text = typeset.markdown(table_of(tmp_path, SMALL.replace("particles", "sample.s") + "sweep: sample.s\n"))
    assert re.findall(r"^\| (\S+) \| (\S+) \|", text, re.MULTILINE)[1:] == [("LD-SMC", "0.1"), ("LD-SMC", "0.2")]


def test_published_numbers_are_a_block_of_their_own(golden: Path) -> None:
    table = with_published(table_of(golden, LAYOUT))
    rows = [(row.key[0], row.key[1], row.published) for row in table.rows]
    ours = [published for *_, published in rows].index(True)
    assert {published for *_, published in rows[ours:]} == {True} and ("ldsmc", 5, True) in rows
    assert ("latent_dps", 1, True) in rows and ("latent_dps", 1, False) not in rows
    psld = next(row for row in table.rows if row.published and row.key[0] == "psld")
    shown = {name: cell.estimate.value for (task, name), cell in psld.cells.items() if task == "box" and cell.estimate}
    assert shown == {"fid_clean": 39.68, "psnr": 22.31, "ssim": 0.774}  # LD-SMC paper, Table 10
    marks = {cell.mark for row in table.rows if row.published for cell in row.cells.values()}
    assert marks == {""} and r"\textit{published, arXiv 2502.05908}" in typeset.latex(table)


def test_every_published_number_has_its_source_and_is_once_there() -> None:
    numbers = pd.read_csv(Path(tables.__file__).with_name("published.csv"))
    assert not numbers.isna().any().any() and not numbers.duplicated(list(numbers.columns[:5])).any()
    # 8 rows of methods x 2 data sets x 4 tasks x 5 metrics, and 10 of Table 4 in seconds and memory
    assert len(numbers) == 8 * 2 * 4 * 5 + 2 * 10


def test_what_breaks_latex_does_not() -> None:
    text = typeset.escape_latex("50% of a_b & c#d {e} ~^\\ <|> ± † Fréchet 漢")
    special = r"\textasciitilde{}\textasciicircum{}\textbackslash{} $<$$|$$>$ $\pm$ $\dagger$"
    assert text == rf"50\% of a\_b \& c\#d \{{e\}} {special} Fréchet {{[}}U+6F22{{]}}"
    assert [letter(i) for i in (0, 25, 26, 51, 52)] == ["a", "z", "aa", "az", "ba"]


def test_names_of_other_alphabets_stay_apart(tmp_path: Path) -> None:
    names = ["β-VAE", "Ω", "Α", "ϐ", "L₂", "L2", "Việt", "Đ", "Ж", "方法", "方案", "🙂", "e\u0301", "\u200b", "[x]"]
    texts = [typeset.escape_latex(name) for name in names]
    assert texts[:2] == [r"$\beta$-VAE", r"$\Omega$"] and texts[4:7] == [
        r"L\raisebox{-.3ex}{\scriptsize 2}",
        "L2",
        r"Vi\^{\d{e}}t",
    ]
    assert len(set(texts)) == len(names) and texts[9] == "{[}U+65B9{]}{[}U+6CD5{]}"
    for number, name in enumerate(names):
        made(tmp_path, name, "box", psnr([20.0 + number]))
    table = table_of(tmp_path)
    assert typeset.latex(table).count(typeset.NUMBERED) == 1
    if shutil.which("pdflatex"):
        assert tables.make_pdf([tables.write(table, tmp_path / "tables")]).exists()


def test_long_tables_go_over_several_pages(tmp_path: Path) -> None:
    for task in ("box", "sr8", "half"):
        for particles in range(1, 31):
            made(tmp_path, "ldsmc", task, psnr([20.0]), particles=particles)
    text = typeset.latex(table_of(tmp_path, SMALL.replace("columns: task", "blocks: [task]")))
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 3
    assert text.count(r"\caption") == text.count(r"\label") == 1 and text.count("continued") == 2


def test_the_command_writes_all_forms_and_names_what_has_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path, "ldsmc", "box", psnr([20.0, 21.0]))
    assert tables.main([f"results_dir={tmp_path}"]) == 0
    out = capsys.readouterr().out
    assert "ffhq: no run for it yet" in out and "toyfaces_appendix: " in out
    for suffix in ("tex", "md", "csv"):
        assert (tmp_path / "tables" / f"toyfaces_appendix.{suffix}").exists()
    before = (tmp_path / "tables" / "toyfaces_appendix.tex").read_bytes()
    assert tables.main([f"results_dir={tmp_path}", "published=true"]) == 0
    assert (tmp_path / "tables" / "toyfaces_appendix.tex").read_bytes() == before  # nothing is published of toyfaces


def test_columns_and_the_folder_are_those_of_the_command(tmp_path: Path) -> None:
    """Columns as a layout of the command has them, or by their protocols, in their order."""
    made(tmp_path, "ldsmc", "box", psnr([20.0, 21.0], ssim=0.5), cost={"seconds": 2.0, "peak_memory_mb": 2048.0})
    chosen = ["table=toyfaces,cost", "metric=ssim,cost.peak_memory_mb", f"out={tmp_path / 'paper'}"]
    assert tables.main([f"results_dir={tmp_path}", *chosen]) == 0
    assert not (tmp_path / "tables").exists()
    for name in ("toyfaces", "cost"):
        lines = csv.DictReader((tmp_path / "paper" / f"{name}.csv").read_text().splitlines())
        assert [(line["metric"], line["printed"]) for line in lines] == [
            ("ssim", "0.500"), ("cost.peak_memory_mb", "2.00"),
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["metric=psnr,misfti"], "metric=misfti: no such metric; did you mean misfit?"),
        (["publish=true"], "publish=true: ldsmc-bench tables has no such option; did you mean published?"),
        (["published=yes"], "published=yes: must be true or false"),
        (["--pdg=x"], "--pdg=x: ldsmc-bench tables has no such option; did you mean pdf?"),
        (["results_dir=nowhere"], "results_dir=nowhere cannot be read"),
    ],
)
def test_a_wrong_command_is_told_in_a_line(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert tables.main(arguments) == 2
    assert capsys.readouterr().err.startswith(f"error: {line}")


def test_an_empty_store_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored(tmp_path, "ldsmc", "box", [])
    assert tables.main([f"results_dir={tmp_path}"]) == 2
    assert "no run belongs to any table" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("title: t\nrows: [method]\n", "metrics is missing"),
        ("title: t\nrows: [method]\nmetrics: [psnr]\nrow: [x]\n", "no such key row; did you mean rows?"),
        ("title: t\nrows: [partcles]\nmetrics: [psnr]\n", "rows.0: runs have no partcles; did you mean particles?"),
        ("title: t\nrows: method\nmetrics: [psnr]\n", "rows=method: must be a valid list"),
        (
            "title: t\nrows: [method]\nmetrics: [pnsr]\n",
            "pnsr has no protocol; give its label and digits too, or did you",
        ),
        ("title: t\nrows: [method]\nmetrics: [{name: psnr, digit: 1}]\n", "no such key digit; did you mean digits?"),
        (
            "title: t\nrows: [method]\nmetrics: [{name: psnr, better: more}]\n",
            "better=more: must be 'higher', 'lower'",
        ),
        (
            "title: t\nrows: [method]\nmetrics: [{name: psnr, digits: x}]\n",
            "digits=x: must be a valid integer",
        ),
        ("title: t\nrows: [method]\nmetrics: [psnr]\nstyle: acl\n", "style=acl: must be 'plain', 'icml' or"),
        ("title: t\nrows: [method]\nmetrics: [psnr]\nwhere: toyfaces\n", "where=toyfaces: must be a valid dictionary"),
        ("title: t\nrows: [method]\nmetrics: [psnr]\nsweep: kappa\n", "sweep: runs have no kappa"),
        ("- a\n", "must be a section with title, rows and metrics"),
        ("a: [\n", "cannot be read"),
    ],
)
def test_a_wrong_layout_is_named_by_file_and_key(tmp_path: Path, text: str, line: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as error:
        load_layout(file)
    assert str(file) in str(error.value) and line in str(error.value) and "\n" not in str(error.value)


def test_the_layouts_of_this_project_are_sound() -> None:
    layouts = {layout.name: layout for layout in load_layouts(CONF / "table")}
    assert [metric.name for metric in layouts["ffhq"].metrics] == ["fid_clean", "niqe", "lpips_vgg"]
    assert [metric.digits for metric in layouts["exactness"].metrics] == [2] * 4


def test_without_latex_what_is_missing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path, "ldsmc", "box", psnr([20.0, 21.0]))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert tables.main([f"results_dir={tmp_path}", "pdf=true"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: pdflatex is not installed") and tables.PACKAGES in error and error.count("\n") == 1


@pytest.fixture
def paper(tmp_path: Path) -> Path:
    """Seven methods on four tasks of FFHQ, one of them not begun."""
    methods = ("ldsmc", "ltds", "latent_dps", "psld", "pfld", "resample", "latent_daps")
    for i, method in enumerate(methods):
        for task in ("box", "freeform", "gaussian_deblur", "sr8"):
            values = {f"{j:05}": {"lpips_vgg": 0.3 + i / 50 + j % 3 / 40, "niqe": 9.5 + (i + j) % 4} for j in range(8)}
            made(tmp_path, method, task, {} if method == "psld" else values, dataset="ffhq", steps=1000, wanted=8,
                 particles=5 if "smc" in method else 1, sets={"fid_clean": 50.0 + i, "fid_clean_se": 1.25})  # fmt: skip
    return tmp_path


def ffhq(results: Path, **options: Any) -> Table:
    return table_of(results, (CONF / "table" / "ffhq.yaml").read_text(), **options)


def test_runs_of_another_protocol_enter_no_table_unasked(tmp_path: Path) -> None:
    for method in ("ldsmc", "psld"):
        made(tmp_path, method, "box", psnr([20.0, 21.0, 22.0]), steps=100, split="test")
    made(tmp_path, "ldsmc", "sr8", psnr([30.0, 31.0]), steps=8, split="test")
    made(tmp_path, "psld", "box", psnr([40.0, 41.0]), steps=100, split="validation")
    table = table_of(tmp_path)
    assert [(line["method"], line["value"]) for line in lines(table)] == [("ldsmc", "21.0"), ("psld", "21.0")]
    assert table.left_out == (
        "left out: 1 run (chosen by where=steps=8 where=n_images=2), "
        "1 run (chosen by where=n_images=2 where=split=validation)"
    )
    assert table.left_out[1:] in typeset.latex_notes(table).replace(r"\_", "_")
    [eight] = lines(table_of(tmp_path, where={"steps": [8], "n_images": [2]}))
    [other] = lines(table_of(tmp_path, where={"n_images": [2], "split": ["validation"]}))
    assert (eight["task"], eight["value"], other["value"]) == ("sr8", "30.5", "40.5")
    assert {line["steps"] for line in lines(table_of(tmp_path, SMALL.replace("particles", "steps")))} == {"100"}


def test_each_data_set_has_its_own_protocol(tmp_path: Path) -> None:
    made(tmp_path, "ldsmc", "box", psnr([20.0, 21.0, 22.0]), steps=100)
    made(tmp_path, "ldsmc", "box", psnr([20.0]), steps=1000, dataset="ffhq")
    table = table_of(tmp_path, SMALL.replace("columns: task", "blocks: [dataset]"))
    assert [line["dataset"] for line in lines(table)] == ["ffhq", "toyfaces"] and not table.left_out


def test_where_orders_rows_and_columns(paper: Path) -> None:
    table = ffhq(paper, where={"task": ["sr8", "box"], "method": ["resample", "ldsmc", "ltds"]})
    assert table.columns == ["sr8", "box"] and [row.key[0] for row in table.rows] == ["resample", "ldsmc", "ltds"]


def test_ours_comes_last_in_each_block_of_runs(paper: Path) -> None:
    table = with_published(ffhq(paper, ours="ldsmc"))
    own = [row.key[0] for row in table.rows if not row.published]
    assert own[0] == "ltds" and own[-1] == "ldsmc"
    assert "\\midrule\nLD-SMC (ours) & 5" in typeset.latex(table) and "| LD-SMC (ours) | 5" in typeset.markdown(table)
    with pytest.raises(UserError, match="ours=ldscm: no run of this method; did you mean ldsmc"):
        ffhq(paper, ours="ldscm")


def test_numbers_meet_at_the_decimal_point(paper: Path) -> None:
    text = typeset.latex(ffhq(paper, star=True, style="icml"))
    for line in [line for line in text.splitlines() if line.startswith(("LTDS", "PFLD", "ReSample"))]:
        _, _, *halves = line.removesuffix(r" \\").split(" & ")
        assert len(halves) % 6 == 0 and all(re.search(r"\d\}?$", whole) for whole in halves[::2])
        assert all(re.match(r"(\\\w+\{)?\.\d", rest) for rest in halves[1::2])


def test_the_body_alone_has_no_float(paper: Path) -> None:
    text = typeset.latex(ffhq(paper, body_only=True, errors="none"))
    assert text.count(r"\begin{tabular}") == 1 and not re.search(r"table\}|caption|label|pm", text)
    assert "0 of 8 images so far" in typeset.latex_notes(ffhq(paper, body_only=True))


def test_what_cannot_be_legible_is_refused_by_what_to_leave_out(tmp_path: Path) -> None:
    every = ["psnr", "ssim", "lpips_vgg", "lpips_alex", "niqe", "misfit", "toyfaces_perceptual"]
    made(tmp_path, "ldsmc", "box", psnr([20.0, 22.5, 29.0], **dict.fromkeys(every[1:], 0.5)))
    text = SMALL.replace("[psnr]", str(every))
    why = (
        r"one task takes 4\.\d+ in at 7 pt, and style=icml has 3\.25 in: give errors=none or star=true or .* psnr, ssim"
    )
    with pytest.raises(UserError, match=why):
        typeset.latex(table_of(tmp_path, text, style="icml"))
    assert typeset.latex(table_of(tmp_path, text.replace("columns: task\n", ""), style="icml"))  # in panels of metrics


def test_an_error_whose_digits_are_zeros_is_below_the_last_one(tmp_path: Path) -> None:
    made(tmp_path, "ldsmc", "box", psnr([20.0, 20.001]))
    table = table_of(tmp_path)
    assert lines(table)[0]["printed"] == "20.00 ± <0.01" and "s.e." in caption(table)
    assert r"$\pm$$<$0.01" in typeset.latex(table) and r"20.00 ± \<0.01" in typeset.markdown(table)
    made(tmp_path / "equal", "ldsmc", "box", psnr([20.0, 20.0]))
    table = table_of(tmp_path / "equal")
    assert lines(table)[0]["printed"] == "20.00" and "s.e." not in caption(table)


def test_numbers_are_in_the_middle_below_a_wide_heading(tmp_path: Path) -> None:
    made(tmp_path, "ldsmc", "box", psnr([20.0, 22.0]))
    made(tmp_path, "psld", "box", psnr([9.0, 9.5]))
    heading = "signal-to-noise ratio of each image"
    wide = SMALL.replace("[psnr]", f"[{{name: psnr, latex: {heading}, digits: 0, better: none}}]")
    rows = re.findall(r"(?m)^(?:LD-SMC|PSLD) & (.*) &", typeset.latex(table_of(tmp_path, wide, errors="none")))
    width = re.fullmatch(r"\\makebox\[(\d+)pt\]\[r\]\{21\}", rows[0])
    assert width and len(heading) < int(width[1]) / 2 < 2 * len(heading) and rows[1] == "9"
    assert "makebox" not in typeset.latex(table_of(tmp_path))


def test_the_table_of_costs_explains_its_columns(tmp_path: Path) -> None:
    made(tmp_path, "ldsmc", "box", psnr([20.0, 22.0]), cost={"denoiser_forward": 31, "denoiser_backward": 6})
    [table] = tables.fill(tmp_path, load_layouts(names=["cost"]))
    assert table
    assert [metric.label for metric in table.metrics] == ["denoiser fwd", "denoiser bwd"]
    for text in (typeset.latex_notes(table), typeset.markdown(table)):
        assert "denoiser fwd: forward calls for one image, those of all its particles." in text
        assert "denoiser bwd: gradients taken through it for one image." in text


def test_parquet_has_the_numbers_of_the_csv(golden: Path) -> None:
    table = with_published(table_of(golden, LAYOUT))
    read, text = (
        pd.read_parquet(io.BytesIO(typeset.parquet(table))),
        pd.read_csv(io.StringIO(typeset.spreadsheet(table))),
    )
    assert list(read) == list(text) and read.value.dtype.kind == "f" and read.particles.dtype.kind == "i"
    pd.testing.assert_series_equal(read.value.astype(float), text.value, check_names=False)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed (texlive-latex-recommended)")
@pytest.mark.parametrize(
    ("style", "options"),
    [
        ("icml", [{"errors": "none", "ours": "ldsmc"}, {}, {"star": True}]),
        ("neurips", [{"ours": "ldsmc"}]),
        ("plain", [{"body_only": True}]),
    ],
)
def test_a_table_fits_its_page_in_legible_type(paper: Path, style: str, options: list[dict[str, Any]]) -> None:
    """No line is too wide, no font is under 7 points (Computer Modern's names have the size), the caption two lines."""
    texts = []
    for option in options:
        table = with_published(ffhq(paper, style=style, **option))
        box = rf"\hsize={typeset.PAGES[style].column}in\small Table 1: {typeset.escape_latex(caption(table))}"
        texts.append(rf"\setbox0\vbox{{{box}\par\global\count255=\prevgraf}}\typeout{{LINES \the\count255}}")
        texts += [typeset.latex(table), typeset.latex_notes(table)]
    head = rf"\pdfcompresslevel=0\pdfobjcompresslevel=0{typeset.PAGES[style].article}\usepackage{{booktabs}}"
    source = paper / "paper.tex"
    source.write_text("\n".join([head, r"\begin{document}", *texts, r"\end{document}"]))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", source.name]
    log = subprocess.run(command, cwd=paper, capture_output=True, text=True, check=True).stdout
    assert "Overfull" not in log and set(re.findall(r"LINES (\d+)", log)) <= {"1", "2"} and "LINES" in log
    sizes = {
        int(size) for size in re.findall(rb"/FontName */\w+\+CM[A-Z]+(\d+)", source.with_suffix(".pdf").read_bytes())
    }
    assert 7 in sizes and min(sizes) == 7


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed (texlive-latex-recommended)")
def test_a_real_latex_compiles_all_that_a_table_may_hold(golden: Path) -> None:
    paths = [tables.write(with_published(table_of(golden, LAYOUT)), golden / "tables")]
    kappa = [made(golden, "ldsmc", "half", psnr([20.0, 21.0]), kappa1=kappa) for kappa in (0.5, 1.0)]
    paths.append(tables.write(table_of(golden, SMALL + "where: {task: half}\n"), golden / "others"))
    pdf = tables.make_pdf(paths)
    assert pdf.read_bytes().startswith(b"%PDF") and kappa


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed (texlive-latex-recommended)")
def test_what_latex_cannot_compile_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "t.tex"
    file.write_text(r"\nosuchcommand")
    with pytest.raises(UserError, match="Undefined control sequence"):
        tables.make_pdf([file])


def test_a_p_value_below_its_floor_is_printed_as_that(tmp_path: Path) -> None:
    made(tmp_path, "ldsmc", "box", psnr([20.0]), sets={"tarp_p": 0.0007})
    made(tmp_path, "psld", "box", psnr([20.0]), sets={"tarp_p": 0.001})
    table = table_of(tmp_path, SMALL.replace("[psnr]", "[tarp_p]"))
    assert printed(table) == {"ldsmc1": "< 0.001", "psld1": "0.001"}
    assert [line["value"] for line in lines(table)] == ["0.0007", "0.001"]
    assert "{$<$ 0}&.001 " in typeset.latex(table).replace(" & .", "&.") and "| \\< 0.001 |" in typeset.markdown(table)


def test_a_folder_without_a_layout_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"my_tables: no layout is there; make a file <name>\.yaml in it with"):
        load_layouts(tmp_path / "my_tables")
