"""What scaling costs: figures of this machine, a simulated cache, a model, and docs/scaling.md.

`python -m bench.scaling`, from the root of the repository, does all of it. Data flows one way:
measure_engine, measure_service and hit_rates write docs/scaling/figures.json; model reads it; tables, page
and plots tell what came of it.
"""
