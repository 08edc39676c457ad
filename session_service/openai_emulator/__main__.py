"""`python -m session_service.openai_emulator [--listen 127.0.0.1:8090]`: one process."""

import argparse
import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator

import uvicorn

from session_service.openai_emulator.app import create_emulator


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        line = f"OpenAI emulator at http://{where}/v1: ChatKit, responses and files in memory; "
        print(line + "no model, no browser side, no billing", flush=True)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves the signals to us: uvicorn raises them again at its end, and exits with -15."""
        yield


async def serve(host: str, port: int) -> None:
    """Serves until SIGTERM or SIGINT."""
    config = uvicorn.Config(create_emulator(), host, port, log_level="warning", access_log=False)
    server = _Server(config)

    def stop() -> None:
        server.should_exit = True
        # uvicorn would wait for the requests that are never to be answered.
        for connection in server.server_state.connections:
            connection.transport.close()

    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop)
    await server.serve()


def address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def main() -> None:
    parser = argparse.ArgumentParser(description="Stands in for OpenAI.")
    parser.add_argument("--listen", type=address, default="127.0.0.1:8090", metavar="HOST:PORT")
    asyncio.run(serve(*parser.parse_args().listen))


if __name__ == "__main__":
    main()
