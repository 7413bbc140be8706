# Copyright 2026 The Parrot authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
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
