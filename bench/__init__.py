"""What is measured and tried of Sotto, beyond its tests: each folder here is one command, `python -m bench.NAME`.

`attacks`, `audit`, `crashes`, `fuzz`, `leaks`, `membership`, `soak` and `variance` try to break what is promised, most
of them with planted faults that they must find; `docs/reliability.md` sums up what they found. `aot`, `gpu`,
`kernels_cpu`, `norm_check`, `rounds`, `sampler_timing`, `secagg` and `trainings` measure, beside peers where there are
some; `suites` are pytest-benchmark's. A command writes its figures as JSON and a page of them: what is recorded is in
`bench/results`. What commands share lies beside them: `lora_step` (models and methods), `noise` (settings and opened
sums), and the modules of this folder. Nothing of the product imports anything here.
"""
