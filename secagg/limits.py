"""How large anything may be that others ask for; what is larger is a mistake or an attack.

Numbers alone, so that whoever only makes keys or reads a deployment imports nothing heavy.
"""

__all__ = ["DEFAULT_MAX_CLIENTS", "MAX_CLIENTS", "MAX_LENGTH"]

MAX_LENGTH = 2**28  # coordinates of one message (2 GiB)
DEFAULT_MAX_CLIENTS = 2**20  # of one round or message, unless a deployment's policy says otherwise
MAX_CLIENTS = 2**24  # the most that a policy may say
