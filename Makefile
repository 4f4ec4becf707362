# Two commands do everything on a fresh machine: make demo, make test.
PYTHON ?= python3
comma = ,
# $(call install,folder,what[,constraints]). uv takes a fifth of pip's time; where it cannot install (it reads
# no pip.conf), pip does. Where Python may not keep what it compiles, every process would compile
# torch again, for seconds: there it is compiled at once, as pip does, and Songbag with it.
COMPILE = $(PYTHONDONTWRITEBYTECODE)
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
install = echo "installing into $(1) ..." && { [ -x $(1)/bin/uv ] || $(1)/bin/python -m pip install -qq \
	  --disable-pip-version-check --constraint constraints.txt uv; } && \
	{ $(1)/bin/uv pip install -q $(if $(COMPILE),--compile-bytecode) --python $(1)/bin/python \
	  --constraint $(or $(3),constraints.txt) $(2) || \
	  $(1)/bin/python -m pip install -qq --disable-pip-version-check \
	  --constraint $(or $(3),constraints.txt) $(2); }$(if $(COMPILE), && $(1)/bin/python -m compileall -q songbag)

.PHONY: help demo test lint types test-all docs torture chromium espeak browser pictures clean
.PHONY: bench bench-quick bench-encoder bench-accuracy bench-tables bench-spans bench-strangers bench-neighbours bench-suggestions bench-poolings bench-vote bench-serving bench-service bench-scale bench-memory bench-peers

demo: .venv/train  ## generate songs, train, evaluate, write the report
	.venv/bin/songbag demo

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

test: .venv/dev .venv-core/core chromium lint types  ## everything CI runs
	.venv/bin/python -m pytest -n 2 --dist worksteal

lint: .venv/dev  ## style: ruff check and format
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: .venv/dev  ## mypy, strict
	.venv/bin/mypy

test-all: .venv/dev .venv/store .venv/docs .venv-core/core chromium espeak lint types  ## also what is too slow for every change
	.venv/bin/python -m pytest -n 2 --dist worksteal --full

browser: examples/browser/node_modules demo  ## the demo's model in a browser, on the page of examples/browser
	.venv/bin/songbag export demo/demo.songbag examples/browser/genre.onnx
	@echo "open http://127.0.0.1:8080"
	.venv/bin/python -m http.server --bind 127.0.0.1 --directory examples/browser 8080

examples/browser/node_modules: examples/browser/package.json
	@command -v npm >/dev/null || { echo "needs npm: apt-get install npm"; exit 1; }
	npm install --silent --prefix examples/browser
	touch $@

docs: .venv/docs  ## the pages as a site in build/site, to be read without network
	rm -rf build/site
	.venv/bin/sphinx-build -q -W --keep-going -c docs . build/site
	@echo "open build/site/index.html"

torture: .venv/dev  ## promises of docs/explanation/reliability.md in full size, figures printed
	@command -v ffmpeg >/dev/null || (apt-get update -qq && apt-get install -y -qq ffmpeg) || \
	  { echo "torture compares with the ffmpeg program: install it (apt-get install ffmpeg)"; exit 1; }
	nice .venv/bin/python -m pytest --torture

bench: .venv-bench/bench  ## every speed row beside the founding program, into docs/figures.md, 25 minutes
	.venv-bench/bin/python bench/speed/run.py --record

bench-quick: .venv-bench/bench  ## the same with fewer rounds, nothing recorded
	.venv-bench/bin/python bench/speed/run.py --quick

bench-accuracy: .venv/dev  ## song accuracy of the recipes on Emotify, 5 folds x 3 seeds
	.venv/bin/python bench/accuracy.py

bench-poolings: .venv/dev  ## the study of poolings on Emotify, an hour or two
	.venv/bin/python bench/poolings.py

bench-encoder: .venv/dev  ## what the encoder costs, beside the original and a plain convolution
	.venv/bin/python bench/encoder.py

bench-tables: .venv/dev  ## recipe windows beside scikit-learn, on tables that librosa makes
	.venv/bin/python bench/tables.py

bench-neighbours: .venv/dev  ## songs that sound alike, and their map: shares on Emotify, seconds of many songs
	.venv/bin/python bench/neighbours.py

bench-strangers: .venv/dev espeak  ## songs like none of the training: AUROC and shares set aside, beside rivals
	.venv/bin/python bench/strangers.py

bench-suggestions: .venv/dev  ## what to label next: learning curves of five ways to choose, on Emotify
	.venv/bin/python bench/suggestions.py

bench-spans: .venv/dev  ## labelled spans of long recordings that come back
	.venv/bin/python bench/spans.py

bench-vote: .venv/train  ## what the exact vote costs
	.venv/bin/python bench/vote.py

bench-serving: .venv/dev  ## a server at 0.5, 1 and 2 times of its capacity
	.venv/bin/python bench/serving.py

bench-service: .venv/dev  ## 12,000 requests to a server, bad files among them: memory, time of answers; 20 minutes or more
	.venv/bin/python bench/long_service.py

bench-scale: .venv/dev  ## what a song costs, two workers against one, the bill for 10^8 songs
	.venv/bin/python bench/scale.py

bench-memory: .venv/dev  ## memory of training on 50 and 500 ten-minute songs, and of 1 and 24 hours to predict; 90 minutes
	.venv/bin/python bench/memory.py

bench-peers: .venv/dev  ## other ways to classify songs on the same folds, each in an environment of its own
	.venv/bin/python bench/peers.py

# The tests of the page want a real browser; without one they are skipped, and say so.
chromium:  ## install the browser for the tests of pages, where apt-get can
	@command -v chromium || command -v chromium-browser || command -v google-chrome || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get && apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium > /dev/null; } || \
	  echo "No Chromium, and it cannot be installed from here (that needs root and apt-get): the" \
	       "tests of the page will be skipped. Install it: sudo apt-get install chromium"

# Speech, which no model of music was trained on.
espeak:  ## install what speaks for tests of unknown songs, where apt-get can
	@command -v espeak-ng || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get && apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq espeak-ng > /dev/null; } || \
	  echo "No espeak-ng, and it cannot be installed from here (that needs root and apt-get):" \
	       "tests of speech will be skipped. Install it: sudo apt-get install espeak-ng"

PICTURE = chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync \
  --disable-background-networking --disable-component-update --hide-scrollbars

pictures: demo .venv/dev  ## docs/report.png, docs/map.png, docs/serving.png: of the demo's songs
	@command -v chromium >/dev/null || { echo "needs Chromium: apt-get install chromium"; exit 1; }
	.venv/bin/songbag map demo/songs.csv -o demo/map.html --cache demo/cache
	$(PICTURE) --window-size=1100,1270 --screenshot=docs/report.png file://$(CURDIR)/demo/demo-training/report.html
	$(PICTURE) --window-size=1100,720 --screenshot=docs/map.png file://$(CURDIR)/demo/map.html
	PYTHONPATH=. .venv/bin/python docs/make_serving_picture.py demo

.venv/train: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Songbag needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	@$(call install,.venv,--editable '.[train]')
	touch $@

.venv/dev: .venv/train
	@$(call install,.venv,--editable '.[train$(comma)parquet$(comma)serve$(comma)dev]')
	touch $@

# The rival's too: Keras on three backends, and librosa.
.venv-bench/bench: pyproject.toml bench/constraints.txt
	$(PYTHON) -m venv .venv-bench
	@$(call install,.venv-bench,keras tensorflow-cpu jax librosa --editable '.[train$(comma)parquet]',bench/constraints.txt)
	touch $@

.venv/store: .venv/dev  ## an S3 server for the tests of object stores, and what runs notebooks
	@$(call install,.venv,--editable '.[cluster$(comma)store$(comma)notebook]')
	touch $@

.venv/docs: .venv/dev  ## what makes the site
	@$(call install,.venv,--editable '.[docs]')
	touch $@

# An environment without torch: what serves models must never need it.
.venv-core/core: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-core
	@$(call install,.venv-core,--editable .)
	touch $@

clean:  ## remove environments, the demo and what was built
	rm -rf .venv .venv-core .venv-bench .venv-peers demo build *.egg-info
