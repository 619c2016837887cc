"""From a model with LoRA layers and records to gradients: clipped and summed (`private_gradient`), or of many clients
with an adapter each (`client_gradients`).

What is computed here stands for clients and has no noise: it must never leave them as it is. Samples never reach each
other's gradients; a model or loss that mixes them is refused.
"""
