# The environment is the checkout's own; `make PYTHON=python3.12 TORCH="torch==2.13.0 --index-url ..."` picks others.
PYTHON ?= python3
TORCH ?= torch==2.13.0
TRANSFORMERS ?= transformers
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-fast test-oldest lint clean

demo: $(VENV)/installed  ## Trains a small Parrot of this machine's own and lets it name pictures in six languages.
	$(BIN)/python -m trainer.emoji --output data/emoji --concepts 50
	$(BIN)/python -m trainer.demo_base --data data/emoji --output models/demo-base
	test -f models/demo-composed/processor_config.json || { rm -rf models/demo-composed && \
		$(BIN)/python -m trainer.compose --output models/demo-composed --moe_intermediate_size 128 \
		--vision_tower models/demo-base/vision_tower --language_model models/demo-base/language_model; }
	$(BIN)/python trainer/sft.py --config trainer/recipes/demo.yaml
	$(BIN)/python -m trainer.name_pictures --model models/demo-parrot --data data/emoji --output models/demo-parrot

test: $(VENV)/installed lint  ## All tests, and the style.
	$(BIN)/python -m pytest

test-fast: $(VENV)/installed  ## The tests that are not marked slow.
	$(BIN)/python -m pytest -m "not slow"

test-oldest:  ## All tests with the oldest transformers that pyproject.toml allows, in an environment beside the other.
	$(MAKE) test VENV=.venv-oldest TRANSFORMERS="transformers==5.18.0"

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet "$(TRANSFORMERS)"
	$(BIN)/python -m pip install --quiet --editable ".[demo,test,dev]"
	touch $@

clean:
	rm -rf .venv .venv-oldest data models
