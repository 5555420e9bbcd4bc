"""The official MCP client against a served API: both ways to connect, the tools, and who is refused."""

import asyncio
import os

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

URL = os.environ["DOCBRAIN_URL"] + "/mcp/"
QUESTION = "Which command sets a timeout on a key?"


def headers(token: str = os.environ["DOCBRAIN_TOKEN"]) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "X-DocBrain-Tenant": os.environ["DOCBRAIN_TENANT"]}


async def tools(mode: str) -> None:
    async with httpx2.AsyncClient(headers=headers()) as http:
        async with Client(streamable_http_client(URL + "helper", http_client=http), mode=mode) as client:
            listed = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert sorted(listed) == ["ask", "search"], listed
            for tool in listed.values():
                assert "Helper" in tool.description and tool.annotations.read_only_hint is True, tool
                assert tool.input_schema["required"] == ["question"] and tool.output_schema, tool

            # The client checks structured results against the output schema itself.
            found = await client.call_tool("search", {"question": QUESTION, "top_k": 1})
            assert not found.is_error, found
            [passage] = found.structured_content["passages"]
            assert passage["text"].startswith("The EXPIRE command") and passage["path"] == "guide/expire.md", passage
            assert passage["title"] == "The guide" and passage["heading_path"] == ["Commands"], passage
            assert passage["url"] == "https://docs.example/page" and 0 < passage["score"] <= 1, passage

            answered = (await client.call_tool("ask", {"question": QUESTION})).structured_content
            assert "EXPIRE" in answered["answer"] and answered["answerable"] is True, answered
            assert answered["citations"][0]["number"] == 1, answered

            empty = await client.call_tool("ask", {"question": " "})
            assert empty.is_error and "1 to 4000 characters" in empty.content[0].text, empty
            for name, arguments in (("delete", {}), ("search", {"question": QUESTION, "limit": 3})):
                try:
                    await client.call_tool(name, arguments)
                except MCPError as refused:
                    assert refused.error.code == -32602, refused
                else:
                    raise AssertionError(f"{name} {arguments} was not refused")


async def refused(mode: str) -> None:
    async with httpx2.AsyncClient(headers=headers("wrong")) as http:
        try:
            async with Client(streamable_http_client(URL + "helper", http_client=http), mode=mode):
                raise AssertionError("a wrong token was let in")
        except Exception as refused:
            # A group of groups, whose innermost error is the client's own.
            assert "Server returned an error response" in repr(refused), refused


for way in ("legacy", "auto"):
    asyncio.run(tools(way))
    asyncio.run(refused(way))
    print("ok", way)
