"""Peak memory of two training steps, in a process of their own: `bench.lora_step.memory METHOD B,T,r,TARGETS`."""

from __future__ import annotations

import json
import sys

import torch

from bench.lora_step.methods import step_methods
from bench.lora_step.shapes import DISTILGPT2, cell_of
from bench.measure import resident


def main() -> int:
    """Prints one line of JSON."""
    torch.set_num_threads(2)
    name, cell = sys.argv[1], cell_of(sys.argv[2])
    step = step_methods(DISTILGPT2, cell, (name,))[name]
    before = resident("VmRSS")
    step()
    step()
    print(json.dumps({"before": before, "peak": resident("VmHWM")}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
