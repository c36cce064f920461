"""How much memory is left: by a made-up /proc and /sys, and for real."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from coincide.errors import ResourceError
from coincide.ops.memory import as_text, available, peak, require

GB = 10**9


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MEMINFO = {"proc/meminfo": "MemTotal: 40000000 kB\nMemAvailable:   30000000 kB\n"}


def test_the_host_when_nothing_else_limits(tmp_path):
    assert available(write(tmp_path, MEMINFO)) == 30_000_000 * 1024


def test_cgroup_2_counts_every_enclosing_group_and_gives_back_the_file_cache(tmp_path):
    root = write(
        tmp_path,
        MEMINFO
        | {
            "proc/self/cgroup": "0::/outer/inner\n",
            "sys/fs/cgroup/outer/inner/memory.max": "max\n",
            "sys/fs/cgroup/outer/memory.max": f"{4 * GB}\n",
            "sys/fs/cgroup/outer/memory.current": f"{3 * GB}\n",
            "sys/fs/cgroup/outer/memory.stat": f"anon 5\ninactive_file {2 * GB}\n",
        },
    )
    assert available(root) == 3 * GB


def test_cgroup_2_inside_a_container_that_sees_only_its_own_root(tmp_path):
    root = write(
        tmp_path,
        MEMINFO
        | {
            "proc/self/cgroup": "0::/docker/a1b2\n",
            "sys/fs/cgroup/memory.max": f"{2 * GB}\n",
            "sys/fs/cgroup/memory.current": f"{GB // 2}\n",
        },
    )
    assert available(root) == 3 * GB // 2


def test_cgroup_1(tmp_path):
    root = write(
        tmp_path,
        MEMINFO
        | {
            "proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/job\n",
            "sys/fs/cgroup/memory/job/memory.limit_in_bytes": f"{8 * GB}\n",
            "sys/fs/cgroup/memory/job/memory.usage_in_bytes": f"{GB}\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
    )
    assert available(root) == 7 * GB


def test_a_group_over_its_limit_has_nothing_left(tmp_path):
    files = {
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/memory.max": "10\n",
        "sys/fs/cgroup/memory.current": "20",
    }
    assert available(write(tmp_path, MEMINFO | files)) == 0


def test_refusal_names_both_sizes_and_the_way_out(tmp_path):
    root = write(tmp_path, MEMINFO)
    require(30 * GB, "registering 1,000 voxels", "Crop.", root)
    with pytest.raises(ResourceError, match=r"registering 5 voxels needs about 31 GB .* 30\.7 GB .* Crop\."):
        require(31 * GB, "registering 5 voxels", "Crop.", root)


@pytest.mark.skipif(not os.path.exists("/proc/meminfo"), reason="needs Linux")
def test_here_and_now():
    room = available()
    total = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    assert room is not None
    assert 0 < room < total
    before = peak()
    block = bytearray(50_000_000)
    block[::4096] = b"x" * len(block[::4096])
    assert peak() >= max(before, len(block))


@pytest.mark.skipif(sys.platform != "linux", reason="needs ulimit -v that counts")
def test_ulimit_is_seen():
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (3 * 10**9, -1));"
        "from pathlib import Path; from coincide.ops.memory import _ulimit_room;"
        "print(*_ulimit_room(Path('/')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 3 * GB


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (1500, "1.5 kB"), (2.34e10, "23.4 GB"), (5e13, "50 TB")]
)
def test_sizes_for_people(size, text):
    assert as_text(size) == text
