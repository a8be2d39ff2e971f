# `make` alone lists the targets. The first target that needs it sets everything up in .venv; nothing else is touched.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-19s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## virtual environment with everything installed (done once)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else f"error: Python {v[0]}.{v[1]}: this needs 3.11, 3.12 or 3.13; give one with: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet --editable '.[dev]'
	@touch $(READY)

run: $(READY)  ## the main job: LD-SMC restores drawn faces with 1, 5 and 10 particles
	$(RUN) -m ldsmc_bench method=ldsmc task=freeform -m particles=1,5,10

# Three processes for two cores: many tests wait for a command or a browser, and none needs more than one thread.
AT_ONCE ?= 3
PYTEST := $(RUN) -m pytest --dist loadgroup --no-loadscope-reorder
test: $(READY)  ## the tests
	$(PYTEST) --numprocesses $(AT_ONCE)

test-slow: $(READY)  ## the tests that take minutes
	$(PYTEST) --numprocesses 2 -m slow  # some measure time

lint: $(READY)  ## ruff and mypy
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

exactness: $(READY)  ## the exactness leaderboard at 100 denoiser calls, of all methods on two worlds; goes on where it stopped
	@for shard in 0 1; do OMP_NUM_THREADS=1 $(MAKE) --no-print-directory leaderboard-shard SHARD=$$shard & done; wait
	$(RUN) -m ldsmc_bench leaderboard

LEADERBOARD := $(RUN) -m ldsmc_bench experiment=leaderboard shards=2 shard=$(SHARD) -m task.operator.dy=4
leaderboard-shard:
	$(LEADERBOARD) dataset.calls=100
	$(LEADERBOARD) dataset.calls=100,1000 method=ldsmc,pigdm variant=exact

exactness-particles: $(READY)  ## does LD-SMC reach the exact posterior as particles are added? Runs and figure, about 5 minutes
	@for shard in 0 1; do OMP_NUM_THREADS=1 $(MAKE) --no-print-directory exactness-shard SHARD=$$shard & done; wait
	$(RUN) -m ldsmc_bench exactness out=results/figures/exactness.png

EXACTNESS := $(RUN) -m ldsmc_bench experiment=exactness shards=2 shard=$(SHARD) -m
exactness-shard:
	$(EXACTNESS) method=ldsmc variant=exact particles=1,10,100,1000
	$(EXACTNESS) method=ldsmc variant=paper,released particles=1,10,100,200
	$(EXACTNESS) method=ltds,pfld variant=default particles=10,100
	$(EXACTNESS) method=dps,latent_dps,psld,latent_daps,resample variant=default particles=1

GPU = $(shell nvidia-smi -L 2> /dev/null)
COMMA := ,
PRECISION ?= $(if $(GPU),fp32$(COMMA)bf16,fp32)
COMPILE ?= $(if $(GPU),false$(COMMA)true,false)
GRAPHS = $(if $(GPU),TORCHINDUCTOR_CUDAGRAPHS=1 $(RUN) -m ldsmc_bench speed particles=1$(COMMA)5 batch_size=1 precision=bf16 compile=true --json results/speed/graphs.json)
speed: $(READY)  ## how fast this machine is: LD-SMC and the public order, rivals, overhead, draws, growth; into results/speed
	$(RUN) -m ldsmc_bench speed particles=1,5 batch_size=1,auto precision=$(PRECISION) compile=$(COMPILE) --baseline --overhead --json results/speed/ldsmc.json
	$(RUN) -m ldsmc_bench speed particles=1,5,10 batch_size=1 precision=$(PRECISION) compile=$(COMPILE) --json results/speed/particles.json
	$(RUN) -m ldsmc_bench speed method=latent_dps,psld precision=$(PRECISION) compile=$(COMPILE) --json results/speed/rivals.json
	$(GRAPHS)
	$(RUN) -m ldsmc_bench speed --draws particles=1 steps=10 --json results/speed/draws.json
	$(RUN) -m ldsmc_bench speed --growth --figure results/speed/growth.png --json results/speed/growth.json

figures: $(READY)  ## curves, cost fronts and ESS from the store, into results/figures
	$(RUN) -m ldsmc_bench figures

page: $(READY)  ## all results as one page for a browser, results/page/index.html
	$(RUN) -m ldsmc_bench page

tables: $(READY)  ## the tables of conf/table as LaTeX, Markdown, CSV and Parquet, in results/tables
	$(RUN) -m ldsmc_bench tables

tables-pdf: $(READY)  ## and as one PDF, where pdflatex is installed
	$(RUN) -m ldsmc_bench tables pdf=true

status: $(READY)  ## what is done, missing and failed
	$(RUN) -m ldsmc_bench status

.PHONY: exactness leaderboard-shard exactness-particles exactness-shard help setup run test test-slow lint speed tables tables-pdf status figures page
