"""A session with `muse mcp` by the official SDK for Python: issue 4, acceptance 7.

    client.py MUSE MODE        in a folder with a store; MODE is "legacy", "auto" or a revision without `initialize`
    client.py MUSE MODE hold   reserves, says so, and stays until it is killed
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import anyio
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.stdio import stdio_client

MUSE, MODE = sys.argv[1:3]
TOOLS = ["reserve", "heartbeat", "release", "list", "check"]
PATIENCE_SECONDS = 120


def connect():
    return Client(stdio_client(StdioServerParameters(command=MUSE, args=["mcp"])), mode=MODE)


def muse(*words):
    done = subprocess.run([MUSE, "coord", *words, "--json"], stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def state(reservation):
    return muse("show", reservation)["reservation"]["state"]


def equal(seen, expected):
    if seen != expected:
        raise AssertionError(f"{seen!r} instead of {expected!r}")


async def until(what, is_so):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain until {what}")
        await anyio.sleep(0.01)


async def call(client, tool, status="ok", **arguments):
    result = await client.call_tool(tool, arguments)
    report = result.structured_content
    equal(json.loads(result.content[0].text), report)
    equal(report["status"], status)
    equal(result.is_error, status != "ok")
    return report


def servers():
    children = pathlib.Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return {int(pid) for file in children for pid in file.read_text().split()}


async def one_session():
    async with connect() as client:
        equal(client.protocol_version, "2025-11-25" if MODE == "legacy" else "2026-07-28")
        if client.server_info:
            equal(client.server_info.name, "muse")
        equal([tool.name for tool in (await client.list_tools()).tools], TOOLS)
        held = await call(client, "reserve", addresses=["src/a.py::f"], op="modify")
        mine = held["reservation_id"]
        for report in [
            await call(client, "heartbeat", reservation_id=mine),
            await call(client, "heartbeat", all=True),
            await call(client, "list", address="src/", limit=5),
            await call(client, "check", addresses=["src/a.py"], shared=True),
        ]:
            equal(report["run_id"], held["run_id"])
        # Errors.
        report = await call(client, "reserve", "bad_args", addresses=["b.py"], ttl_s=0)
        assert "`ttl_s`" in report["error"], report
        await call(client, "release", "bad_id", reservation_ids=["x"])
        try:
            await client.call_tool("steal", {})
        except MCPError as error:
            equal(error.error.code, -32602)
        else:
            raise AssertionError("there is no such tool")
        # Cancellation: by the time that this client has, and by its own will.
        other = muse("reserve", "wanted.py", "--run-id", "bob")["reservation_id"]
        wanted = {"addresses": ["wanted.py"], "wait_s": 600}
        try:
            await client.call_tool("reserve", wanted, read_timeout_seconds=1)
        except MCPError:
            pass
        else:
            raise AssertionError("it was not its turn")
        await until("the first ticket is gone", lambda: not muse("list")["waiting"])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "reserve", wanted)
            await until("it waits", lambda: muse("list")["waiting"])
            tasks.cancel_scope.cancel()
        await until("the ticket is gone", lambda: not muse("list")["waiting"])
        muse("release", other, "--run-id", "bob")
        await call(client, "release", all=True, reason="done")
        equal(muse("list")["count"], 0)


async def two_contend():
    async with connect() as alice, connect() as bob:
        first = await call(alice, "reserve", addresses=["src/a.py::A.f"])
        await call(bob, "reserve", addresses=["src/a.py::A.g"])
        denied = await call(bob, "reserve", "conflict", addresses=["src/a.py"])
        equal(denied["conflicts"][0]["holder"]["run_id"], first["run_id"])
        assert denied["run_id"] != first["run_id"], denied
        granted = []

        async def wait():
            granted.append(await call(bob, "reserve", addresses=["src/a.py"], wait_s=600))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await until("bob waits", lambda: muse("list")["waiting"])
            await call(alice, "release", all=True)
        held = granted[0]["reservation_id"]
        equal(state(held), "active")
    equal(state(held), "released")


async def client_killed():
    words = [sys.executable, __file__, MUSE, MODE, "hold"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as client:
        reservation = client.stdout.readline().strip()
        equal(state(reservation), "active")
        client.kill()
    await until("its server has released it", lambda: state(reservation) == "released")


async def server_killed():
    async with connect() as client:
        held = await call(client, "reserve", addresses=["a.py"], ttl_s=1)
        (server,) = servers()
        os.kill(server, signal.SIGKILL)
        try:
            await client.call_tool("list", {}, read_timeout_seconds=10)
        except (MCPError, anyio.ClosedResourceError, anyio.BrokenResourceError):
            pass
        else:
            raise AssertionError("it is dead")
    await until("it lapses", lambda: state(held["reservation_id"]) == "lapsed")


async def hold():
    async with connect() as client:
        print((await call(client, "reserve", addresses=["held.py"], ttl_s=3600))["reservation_id"], flush=True)
        await anyio.sleep_forever()


async def main():
    if sys.argv[3:] == ["hold"]:
        return await hold()
    for step in [one_session, two_contend, client_killed, server_killed]:
        await step()
        print(step.__name__, flush=True)
    print("all as it should be")


anyio.run(main)
