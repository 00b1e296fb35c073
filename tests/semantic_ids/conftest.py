"""Shared by the tests of semantic ids: no deadlines (other work shares the machine), one thread."""

import torch
from hypothesis import settings

settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")
torch.set_num_threads(1)
