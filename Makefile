# Two commands do everything on a fresh machine: make demo, make test.
PYTHON ?= python3
PIP = -m pip install -qq --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint types test-all torture bench-accuracy bench-cold pictures clean

demo: .venv/train  ## generate songs, train, evaluate, write the report
	.venv/bin/songbag demo

test: .venv/dev .venv-core/core lint types  ## everything CI runs
	.venv/bin/python -m pytest -n 2

lint: .venv/dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: .venv/dev
	.venv/bin/mypy

test-all: .venv/dev .venv-core/core lint types  ## also what is too slow for every change
	.venv/bin/python -m pytest -n 2 --full

torture: .venv/dev  ## promises of docs/reliability.md in full size, figures printed
	@command -v ffmpeg >/dev/null || (apt-get update -qq && apt-get install -y -qq ffmpeg) || \
	  { echo "torture compares with the ffmpeg program: install it (apt-get install ffmpeg)"; exit 1; }
	nice .venv/bin/python -m pytest --torture

bench-accuracy: .venv/dev  ## song accuracy of the recipes on Emotify, 5 folds x 3 seeds
	.venv/bin/python bench/accuracy.py

bench-cold: .venv/train  ## one song from a cold start
	.venv/bin/python bench/cold_predict.py

pictures: demo  ## docs/report.png, a screenshot of the demo's report
	@command -v chromium >/dev/null || { echo "needs Chromium: apt-get install chromium"; exit 1; }
	chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1000,900 \
	  --screenshot=docs/report.png file://$(CURDIR)/demo/demo-training/report.html

.venv/train: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Songbag needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	.venv/bin/python $(PIP) --editable '.[train]'
	touch $@

.venv/dev: .venv/train
	.venv/bin/python $(PIP) --editable '.[train,parquet,dev]'
	touch $@

# An environment without torch: what serves models must never need it.
.venv-core/core: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-core
	.venv-core/bin/python $(PIP) --editable .
	touch $@

clean:
	rm -rf .venv .venv-core demo build *.egg-info
