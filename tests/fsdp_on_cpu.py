# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""
Runs a script under FSDP without an accelerator: accelerate launch --use_fsdp ... tests/fsdp_on_cpu.py SCRIPT ...

torch can shard on the CPU, but accelerate (1.15) reads its FSDP options only for accelerators. So the processes claim
here to be on accelerators. With `--accelerator_config '{"use_configured_state": true}'`, the script's trainer keeps
this state.
"""

import runpy
import sys

from accelerate import PartialState
from accelerate.utils import DistributedType


if __name__ == "__main__":
    PartialState(cpu=True).distributed_type = DistributedType.MULTI_GPU
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
