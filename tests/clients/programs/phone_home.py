"""Frameworks with everything on that they send to their makers: whether they ask for their names while they work."""

import json
import os
import sys
import threading
import time

asked = set()
AT_HOME = {"127.0.0.1", "localhost"}


def listen(event, arguments):
    """Every look-up of a name in this process, libraries' own threads included."""
    if event == "socket.getaddrinfo" and str(arguments[0]) not in AT_HOME:
        asked.add(str(arguments[0]))


sys.addaudithook(listen)


def beside_the_model(name):
    """This name, once it was asked for: what is sent in the background is sent when its thread comes to it. Which
    others were asked for until then is chance, and a resumed run has to say the same."""
    end = time.monotonic() + 120
    while name not in asked:
        assert time.monotonic() < end, asked
        time.sleep(0.02)
    return json.dumps([name])


async def agents_call(model, ask):
    import use_agents
    from agents.tracing import get_trace_provider

    await use_agents.chat_call(model, ask)
    threading.Thread(target=get_trace_provider().force_flush, daemon=True).start()
    return beside_the_model("api.openai.com")


def litellm_call(model, ask):
    import use_litellm  # fetches a map of prices when it is imported

    use_litellm.openai_call(model, ask)
    return beside_the_model("raw.githubusercontent.com")


def crewai_call(model, ask):
    os.environ["OTEL_BSP_SCHEDULE_DELAY"] = "50"  # milliseconds until spans are sent, for 5,000
    import use_crewai

    use_crewai.openai_call(model, ask)
    return beside_the_model("telemetry.crewai.com")
