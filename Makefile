# `make demo` and `make test` need nothing but Python 3.10+; each target makes what it lacks.

PYTHON  ?= python3
VENV    := .venv
RUNTIME := .venv-runtime
PEERS   := .venv-peers
OPENVINO := .venv-openvino
INSTALL := -m pip install -qq --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
PASSIVE := $(addprefix result-,accuracy choices recognition contamination method_choice defect_levels)
COMPARISONS := result-cl_anomaly_comparison result-rgbd_comparison result-anomaly_moe_ablations result-cdad_streams \
	result-cmpmb_modules
STUDIES := $(PASSIVE) result-precisions result-peers result-cl_anomaly_full_size result-anomaly_moe_full_size \
	result-embedded_language_model result-small_clip result-cdad_start result-cdad_full_size \
	result-cdad_decomposition
.PHONY: demo test lint types units slow torchless campaign benchmark results $(STUDIES) $(COMPARISONS) \
	result-engine_agreement result-openvino clean help

demo: $(VENV)/.installed  ## learn three real surfaces, inspect them, write demo/report.html
	@$(VENV)/bin/cad-edge demo --out demo

test: $(VENV)/.installed $(RUNTIME)/.installed  ## everything a change must pass
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory types
	@$(MAKE) --no-print-directory units
	@$(MAKE) --no-print-directory torchless

lint: $(VENV)/.installed  ## ruff: rules and format
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/ruff format --quiet --check .

types: $(VENV)/.installed  ## mypy --strict on the five packages
	@$(VENV)/bin/mypy --strict --no-error-summary cad_edge training export runtime benchmarks

# Most of the time goes into single-threaded tracing, so two processes with one thread each are twice
# as fast as one with two; a file stays in one process for the sake of what its tests share. Files of
# few long tests are not left to the end, where one process would wait for the other.
UNITS = OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder
units: $(VENV)/.installed  ## pytest, all but what is marked slow
	@$(UNITS) -m "not slow"

slow: $(VENV)/.installed  ## pytest, what is marked slow: full sizes, several processes, whole commands
	@$(UNITS) -m slow

torchless: $(RUNTIME)/.installed  ## the device's tests, where torch is not on the machine
	@$(RUNTIME)/bin/python -c "import importlib.util as u; exit(bool(u.find_spec('torch')) and 'torch is in $(RUNTIME); run make clean')"
	@$(RUNTIME)/bin/python -m pytest -q -m "not slow" tests/base tests/runtime tests/house

campaign: $(VENV)/.installed  ## attacks on the promises at full size: damage, kills, forgeries, a soak; about an hour
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -q -s tests/campaign --whole-campaign --campaign-out out/campaign $(FLAGS)

BUNDLE = demo/bundle
benchmark: $(VENV)/.installed  ## time, memory and targets of the demo's bundle, or of BUNDLE=DIR, on this machine
	@test -e $(BUNDLE)/bundle.json || $(MAKE) --no-print-directory demo
	@$(VENV)/bin/cad-edge benchmark $(BUNDLE) --scenario all --tasks 3,10,100 --out out/benchmark $(FLAGS)

results: $(STUDIES) $(COMPARISONS) result-engine_agreement result-openvino  ## every study below; hours

FLAGS =
# A study runs as the module of its name; FLAGS are those that its result in docs/results was made with.
$(STUDIES): result-%: $(VENV)/.installed
	@PYTHONPATH=$(CURDIR)/benchmarks/studies $(VENV)/bin/python -m cad_edge_studies.$* $(FLAGS)

$(PASSIVE) $(COMPARISONS): export OMP_WAIT_POLICY = PASSIVE

result-accuracy: FLAGS = --size auto  ## the nine open categories
result-choices:  ## defaults chosen by the categories they are not reported on
result-recognition:  ## products told apart, bundles of 1, 2, 4 and all
result-contamination:  ## defective parts among the good ones
result-method_choice: FLAGS = --method patch_memory --method anomaly_moe --size auto  ## each category by the method that its good parts chose
result-defect_levels:  ## logical and local defects, found and named
result-precisions: FLAGS = --work out/precisions  ## eight bits beside float32: time and accuracy
result-peers: $(PEERS)/.installed  ## anomalib on the same frames in turns
result-cl_anomaly_full_size: FLAGS = --work out/sizes  ## CL-Anomaly at 0.5B dimensions beside transformers
result-anomaly_moe_full_size: FLAGS = --work out/anomaly_moe_sizes  ## AnomalyMoE at DINOv2-B dimensions beside its encoder
result-cdad_full_size: FLAGS = --work out/cdad_sizes  ## CDAD at Stable Diffusion 1.5's dimensions, exported beside torch
result-embedded_language_model: FLAGS = --out out/llava-small --minutes 40  ## llava-small from drawn parts
result-small_clip:  ## a small CLIP from drawn scenes with captions

result-cdad_decomposition:  ## time and memory of what finds directions of older products
result-cdad_start:  ## weights that CDAD starts from, learned on drawn surfaces and parts

# Study files that cad-edge protocol runs; their reports are in out/.
STUDY := benchmarks/studies/cad_edge_studies
PROTOCOL := $(VENV)/bin/cad-edge protocol --stream
STUDY_MODULE := PYTHONPATH=$(CURDIR)/benchmarks/studies $(VENV)/bin/python -m cad_edge_studies
OPEN_DATA := $(or $(CAD_EDGE_DATA),../shared/data/open)
LINES := line-10-0 line-9-1 line-6-4 line-6-1x4 ablations

result-cl_anomaly_comparison: $(VENV)/.installed  ## learners that are asked about defects, in three orders
	@$(PROTOCOL) $(STUDY)/cl_anomaly_comparison/study.yaml --data $(OPEN_DATA) --out out/cl_anomaly_comparison

result-rgbd_comparison: $(VENV)/.installed  ## IB-IUMAD and its baselines: the procedural line and a real product
	@$(STUDY_MODULE).procedural_rgbd_line out/rgbd/parts --train 24 --good 20 --each 3 --seed 1
	@for name in $(LINES); do \
		$(PROTOCOL) $(STUDY)/rgbd_comparison/$$name.yaml --data out/rgbd/parts --out out/rgbd/$$name || exit 1; done
	@$(PROTOCOL) $(STUDY)/rgbd_comparison/real-product.yaml --data $(OPEN_DATA) --out out/rgbd/real-product

result-anomaly_moe_ablations: $(VENV)/.installed  ## levels and losses of AnomalyMoE left out one by one
	@for name in fitted drawn; do \
		$(PROTOCOL) $(STUDY)/anomaly_moe_ablations/$$name.yaml --last-only --data $(OPEN_DATA) \
			--out out/anomaly_moe_ablations/$$name || exit 1; done
	@$(STUDY_MODULE).anomaly_moe_ablations out/anomaly_moe_ablations/fitted out/anomaly_moe_ablations/drawn

result-cdad_streams: $(VENV)/.installed  ## what streams of CDAD forget, and what new products get; hours
	@for name in updates seeds parts nine; do \
		$(PROTOCOL) $(STUDY)/cdad_streams/$$name.yaml --data $(OPEN_DATA) --out out/cdad_streams/$$name || exit 1; done
	@$(STUDY_MODULE).cdad_streams $(addprefix out/cdad_streams/,updates seeds parts nine)

# The small CLIP is made where there is none, and gets a short training; another one gets the published.
SMALL_CLIP := out/small_clip
CLIP = $(SMALL_CLIP)
MODULES = out/cmpmb_modules/$(notdir $(patsubst %/,%,$(CLIP)))
SHORT := --size 160 --seed 0 --seed 1 --seed 2 --set epochs=5 --set learning_rate=5e-4 \
	--set text_epochs=5 --set text_learning_rate=5e-4
result-cmpmb_modules: FLAGS = $(if $(filter $(SMALL_CLIP),$(CLIP)),$(SHORT))
result-cmpmb_modules: $(VENV)/.installed  ## CMPMB's modules, alpha and layer on CLIP=FOLDER
	@test $(CLIP) != $(SMALL_CLIP) || test -e $(CLIP)/config.json \
		|| $(MAKE) --no-print-directory result-small_clip FLAGS=
	@$(PROTOCOL) $(STUDY)/cmpmb_modules/study.yaml --last-only --data $(OPEN_DATA) \
		--backbone clip:$(CLIP) --out $(MODULES) $(FLAGS)
	@$(PROTOCOL) $(STUDY)/cmpmb_modules/stream.yaml --data $(OPEN_DATA) --method cmpmb \
		--backbone clip:$(CLIP) --out $(MODULES)-stream $(FLAGS)
	@$(STUDY_MODULE).cmpmb_modules $(MODULES) $(MODULES)-stream \
		--out $(if $(filter $(SMALL_CLIP),$(CLIP)),docs/results/cmpmb-clip.json,$(MODULES)/modules.json)

result-engine_agreement: result-rgbd_comparison  ## what IB-IUMAD learned, exported, beside torch
	@$(STUDY_MODULE).engine_agreement $(STUDY)/rgbd_comparison/line.yaml \
		out/rgbd/line-10-0/runs/given-seed-0/IB-IUMAD/learned --data out/rgbd/parts --out out/rgbd/engine_agreement.json

result-openvino: result-precisions $(OPENVINO)/.installed  ## the same bundles on OpenVINO beside the CPU provider
	@$(OPENVINO)/bin/python -m pytest -q tests/runtime
	@cd out/precisions && PYTHONPATH=$(CURDIR)/benchmarks/studies ../../$(OPENVINO)/bin/python \
		-m cad_edge_studies.precisions.variants \
		cpu=bundle-fp32 openvino=bundle-fp32@openvino cpu-uint8=bundle-uint8 \
		openvino-uint8=bundle-uint8@openvino --stream stream.json --out ../../docs/results/openvino.json

clean:  ## remove the environments, the demo and every cache
	@rm -rf $(VENV) $(RUNTIME) $(PEERS) $(OPENVINO) demo out build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z_.-]+:.*## / {printf "  make %-38s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The stamp is written last, so that an interrupted installation is taken up again.
$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "Installing cad-edge and its development tools into $(VENV); the first time takes minutes."
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python $(INSTALL) -e ".[train,export,explain,signing,dev]"
	@touch $@

$(RUNTIME)/.installed: pyproject.toml constraints.txt
	@echo "Installing what a device gets into $(RUNTIME)."
	@$(PYTHON) -m venv $(RUNTIME)
	@$(RUNTIME)/bin/python $(INSTALL) -e ".[cpu,explain,signing]" "pytest>=8.3"
	@touch $@

$(OPENVINO)/.installed: pyproject.toml
	@echo "Installing a device with OpenVINO into $(OPENVINO)."
	@$(PYTHON) -m venv $(OPENVINO)
	@$(OPENVINO)/bin/python -m pip install -qq --disable-pip-version-check \
		-e ".[openvino,explain]" "pytest>=8.3"
	@touch $@

$(PEERS)/.installed: constraints-peers.txt
	@echo "Installing anomalib into $(PEERS): several GB, the first time takes minutes."
	@$(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install -qq --disable-pip-version-check -c constraints-peers.txt \
		"anomalib[openvino]" onnxruntime
	@touch $@
