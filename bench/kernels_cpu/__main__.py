"""The private LoRA step against Opacus 1.6 and the non-private PEFT step, on a CPU.

`python -m bench.kernels_cpu --part stage|operations|memory|step|all --out DIR` writes `DIR/PART.json` after every cell
(an interrupted run goes on where it stopped) and draws `DIR/table.md` and `DIR/plot.png`. `--cells B,T,r,TARGETS ...`
chooses cells, `--quick` takes a tiny model.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import torch

from bench.command import parser_of, say
from bench.kernels_cpu.figure import draw
from bench.kernels_cpu.page import page
from bench.lora_step.memory import memory_of
from bench.lora_step.methods import OPACUS, known_steps, plain_losses, stage_methods, step_methods
from bench.lora_step.shapes import DISTILGPT2, GRID, TINY, Cell, Shape, cell_of, lora_model, token_ids
from bench.measure import Operations, environment, round_robin
from bench.records import add_environment, load, store
from fl_core.adapters import trainable_parameters

PARTS = ("stage", "operations", "memory", "step")
STEP_CELLS = [
    *(Cell(b, 20, r, targets) for b in (4, 8, 16, 32) for r, targets in ((4, "c_attn"), (16, "all"))),
    *(Cell(b, 128, r, targets) for b in (4, 16) for r, targets in ((4, "c_attn"), (16, "all"))),
    Cell(4, 512, 16, "all"),
]
MEMORY_CELLS = [Cell(16, 128, 16, "all"), Cell(16, 128, 4, "c_attn"), Cell(4, 512, 16, "all"), Cell(16, 512, 16, "all")]
QUICK_CELLS = [Cell(2, 8, 4, "c_attn"), Cell(4, 8, 4, "all")]


def stage(shape: Shape, cell: Cell, limit_s: float) -> dict[str, Any]:
    """Times of the isolated stage."""
    return round_robin(stage_methods(shape, cell), rounds=15, limit_s=limit_s)


def step(shape: Shape, cell: Cell, limit_s: float) -> dict[str, Any]:
    """Times of the whole step."""
    return round_robin(step_methods(shape, cell, known_steps()), rounds=7, warmup=1, limit_s=limit_s)


def operations(shape: Shape, cell: Cell, limit_s: float) -> dict[str, Any]:
    """Operations of one step of every method after two others, and of a non-private step with a plain loss."""
    model = lora_model(shape, cell.rank, cell.targets, "cpu")
    batches, optimizer = token_ids(shape, cell, "cpu"), torch.optim.AdamW([p for _, p in trainable_parameters(model)])

    def plain() -> None:
        ids = next(batches)
        plain_losses(model(input_ids=ids), {"input_ids": ids}).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    counts = {}
    for name, method in {"non-private plain loss": plain, **step_methods(shape, cell, known_steps())}.items():
        method()
        method()
        with Operations() as counted:
            method()
        counts[name] = counted.count
    return counts


def memory(shape: Shape, cell: Cell, limit_s: float) -> dict[str, Any]:
    """Peak memory of every method in a process of its own (DistilGPT2's shape only)."""
    # The largest cell is for the methods whose figures are compared; Opacus' would not fit beside other jobs.
    names = [n for n in known_steps() if cell.batch * cell.tokens <= 4096 or n not in OPACUS]
    return {name: memory_of(name, cell) for name in names if name != "sotto plain loss"}


def run(part: str, shape: Shape, cells: list[Cell], out: Path, limit_s: float) -> None:
    """Measure what is missing of one part, writing after every cell."""
    measure = {"stage": stage, "operations": operations, "memory": memory, "step": step}[part]
    path = out / f"{part}.json"
    done = load(path)
    where = environment("cpu")
    for index, cell in enumerate(cells):
        if any(all(row[k] == v for k, v in cell.row.items()) for row in done["rows"]):
            continue
        say(f"{part} {index + 1}/{len(cells)}: {cell}")
        done["rows"].append(cell.row | {"methods": measure(shape, cell, limit_s)})
        add_environment(done, where)
        store(path, done)


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = parser_of("kernels_cpu", __doc__, "PART.json, table.md and plot.png")
    parser.add_argument("--part", choices=(*PARTS, "all", "draw"), default="all", help="draw: measure nothing")
    parser.add_argument("--cells", nargs="+", type=cell_of, metavar="B,T,r,TARGETS", help="default: the grid")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds a cell")
    parser.add_argument("--quick", action="store_true", help="a tiny model and few cells")
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(2)
    shape = TINY if options.quick else DISTILGPT2
    chosen = {
        "stage": GRID,
        "operations": [Cell(2, 8, r, targets) for r in (4, 16) for targets in ("c_attn", "all")],
        "memory": MEMORY_CELLS,
        "step": STEP_CELLS,
    }
    wanted = [] if options.part == "draw" else PARTS if options.part == "all" else [options.part]
    for part in wanted:
        if options.quick and part == "memory":
            continue  # its processes build the whole model
        run(part, shape, options.cells or (QUICK_CELLS if options.quick else chosen[part]), options.out, options.limit)
    parts = {part: load(options.out / f"{part}.json") for part in PARTS}
    (options.out / "table.md").write_text(page(parts))
    draw(parts, options.out / "plot.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
