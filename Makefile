# `make demo` and `make test` do everything on a fresh Debian 12 with Python 3.11, git, make and python3-venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PRECISION := int8

.PHONY: demo test check lint types reference clean

demo: demo/reference-$(PRECISION)/manifest.json
	$(BIN)/mosear run demo/reference-$(PRECISION) examples/clips/*.mp4

test: $(READY) lint types
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: lint types

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy follows folders, not import hooks: the rooms are linked under their import names.
types: $(READY)
	rm -rf build/types && mkdir -p build/types/mosear
	for room in export evaluation calibration clips model runtime; do ln -s ../../../$$room build/types/mosear/$$room; done
	MYPYPATH=build/types $(BIN)/mypy --namespace-packages --explicit-package-bases -p mosear

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[cpu,live,serve,sinks,asr,rtx,calibration,optimum,export,eval,ray,dev]'
	touch $@

demo/reference-%/manifest.json: $(READY)
	mkdir -p demo
	$(BIN)/mosear-export build reference -o demo/reference-$* --precision $*

# The reference checkpoint from nothing: render, train, calibrate. Under an hour on two cores.
DATA ?= build/reference-data
reference: $(READY)
	test -f $(DATA)/train/labels.csv || $(BIN)/python -m mosear.clips.synthetic.arrays $(DATA)/train --count 6000 --seed 1
	test -f $(DATA)/decoder/labels.csv || $(BIN)/python -m mosear.clips.synthetic.arrays $(DATA)/decoder --count 6000 --seed 4
	test -f $(DATA)/validation/labels.csv || $(BIN)/python -m mosear.clips.synthetic.arrays $(DATA)/validation --count 900 --seed 2
	$(BIN)/python -m mosear.model.training --config model/reference.yaml --data $(DATA)/train --decoder-data $(DATA)/decoder -o build/reference --seed 0
	$(BIN)/python -m mosear.calibration build/reference --data $(DATA)/validation --source "synthetic conflict set, seed 2"

clean:
	rm -rf build demo
