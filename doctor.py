"""`make doctor`: whether both processes have all that they need, as one checklist."""

import asyncio
import sys
from collections.abc import Sequence

from runtime.checklist import Check
from runtime.checklist_report import main


async def examine() -> dict[str, Sequence[Check]]:
    # Not above: it takes two seconds, in which Ctrl-C is to end it as it does afterwards.
    import gateway.doctor
    import session_service.doctor

    service, front = await asyncio.gather(
        session_service.doctor.examine(), gateway.doctor.examine()
    )
    return {"session_service": service, "gateway": front}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], "make doctor", examine))
