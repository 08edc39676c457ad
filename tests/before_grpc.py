"""Imported before gRPC, which reads this once.

Else it works in each child that is about to become another user's program, such as pg_ctl, and the
child may end in a segmentation fault.
"""

import os

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"
