# syntax=docker/dockerfile:1
# The program and all that it needs, the embedded prior too. Results and files of your own are mounted:
#   docker build --tag ldsmc_bench .
#   docker run --rm --gpus all --volume "$PWD:/work" ldsmc_bench method=ldsmc task=freeform -m particles=1,5,10
# Without --gpus all it computes on the CPU.
FROM python:3.12-slim-bookworm

COPY pyproject.toml README.md LICENSE .gitignore /source/
COPY ldsmc_bench /source/ldsmc_bench
COPY baselines /source/baselines
COPY hydra_plugins /source/hydra_plugins
COPY conf /source/conf
RUN pip install --no-cache-dir '/source[text,tune,physics]' && rm -rf /source

WORKDIR /work
ENTRYPOINT ["ldsmc-bench"]
CMD ["--help"]
