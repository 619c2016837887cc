"""Who takes part in a deployment and on what terms: as data, as files, and as keys.

`terms` is the data, `parties_file` and `cards` its files, `new_keys` and `keys` the members' own secrets. Nothing here
starts a process or connects to one, and no public file ever holds a private key.
"""
