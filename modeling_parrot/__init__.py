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
"""Parrot for transformers.

The Hub gets the modules of Parrot's classes, but not this file. This file registers the classes with the Auto classes,
so that a checkpoint loaded beside this package uses the package and needs no `trust_remote_code`.
"""

from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoModelForMultimodalLM, AutoProcessor

from .configuration_parrot import ParrotConfig
from .modeling_parrot import ParrotForConditionalGeneration, ParrotModel
from .processing_parrot import ParrotProcessor


AutoConfig.register("parrot", ParrotConfig)
AutoModel.register(ParrotConfig, ParrotForConditionalGeneration)
AutoModelForImageTextToText.register(ParrotConfig, ParrotForConditionalGeneration)
AutoModelForMultimodalLM.register(ParrotConfig, ParrotForConditionalGeneration)
AutoProcessor.register(ParrotConfig, ParrotProcessor)

__all__ = ["ParrotConfig", "ParrotForConditionalGeneration", "ParrotModel", "ParrotProcessor"]
