"""Frameworks with everything on that they send to their makers: which names they ask for while they work."""

import json
import os
import sys
import threading

asked = set()
news = threading.Event()
AT_HOME = {"127.0.0.1", "localhost"}


def listen(event, arguments):
    """Every look-up of a name in this process, libraries' own threads included."""
    if event == "socket.getaddrinfo" and str(arguments[0]) not in AT_HOME:
        asked.add(str(arguments[0]))
        news.set()


sys.addaudithook(listen)


def beside_the_model():
    """The names, once there is one: what is sent in the background is sent when its thread comes to it."""
    assert news.wait(60)
    return json.dumps(sorted(asked))


async def agents_call(model, ask):
    import use_agents
    from agents.tracing import get_trace_provider

    await use_agents.chat_call(model, ask)
    threading.Thread(target=get_trace_provider().force_flush, daemon=True).start()
    return beside_the_model()


def litellm_call(model, ask):
    import use_litellm  # fetches a map of prices when it is imported

    use_litellm.openai_call(model, ask)
    return beside_the_model()


def crewai_call(model, ask):
    os.environ["OTEL_BSP_SCHEDULE_DELAY"] = "50"  # milliseconds until spans are sent, for 5,000
    import use_crewai

    use_crewai.openai_call(model, ask)
    return beside_the_model()
