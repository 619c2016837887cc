"""A watched process says how many objects it holds; one that would die of the question is not asked."""

from __future__ import annotations

import os
import subprocess
import sys

from bench.soak.probe import ask_objects, site_folder
from bench.soak.samples import sample_of


def test_a_process_is_seen_and_says_how_many_objects_it_holds(tmp_path):
    environment = {**os.environ, **site_folder(tmp_path)}
    code = "import sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        child.stdout.readline()
        sample = sample_of("child", child.pid, 1.0, 0)
        assert (sample.descriptors, sample.threads, sample.children) == (3, 1, 0)
        assert 0 < sample.uss <= sample.pss <= sample.rss
        assert ask_objects(child.pid, tmp_path, 20.0) > 1000
        child.stdin.close()
    assert sample_of("child", child.pid, 1.0, 0) is None


def test_a_process_that_would_die_of_the_question_is_not_asked(tmp_path):
    with subprocess.Popen(["sleep", "60"]) as other:
        assert ask_objects(other.pid, tmp_path, 0.1) is None
        assert other.poll() is None
        other.kill()
