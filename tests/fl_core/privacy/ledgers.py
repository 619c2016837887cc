"""A ledger's header and openings, and a file of them."""

from fl_core.privacy.ledger import Ledger, LedgerHeader, Opening

HEADER = LedgerHeader(
    run="r1",
    unit="client",
    trust="distributed",
    mechanism="discrete_gaussian",
    neighbouring="zero_out",
    delta=1e-5,
    clip_norm=0.5,
    scale=2.0**20,
    dimension=100,
    clients=10,
    n_min=8,
    sample_rate=1.0,
    warnings=("a warning with a line\nbreak and an é",),
)


def opening(number, survivors=10, sigma_steps=2.0**19, **rest):
    z = sigma_steps * survivors**0.5 / 2.0**20
    return Opening(number, 0, survivors, "ab" * 32, z, sigma_steps, **rest)


def filled(path, count=4):
    with Ledger.create(path, HEADER) as ledger:
        heads = [(ledger.lines, ledger.head)] + [ledger.append(opening(i)) for i in range(count)]
    return path.read_bytes(), heads
