"""DSPy: a prediction, a ReAct loop and a stream, over its litellm adapter."""

import dspy


def weather(city: str) -> str:
    """The weather in a city."""
    assert city == "Paris", city
    return "sunny"


def lm(model):
    return dspy.LM(f"openai/{model}", cache=False)


def openai_call(model, ask):
    with dspy.context(lm=lm(model)):
        return dspy.Predict("question -> answer")(question=ask).answer


def openai_tools(model, ask):
    with dspy.context(lm=lm(model)):
        return dspy.ReAct("question -> answer", tools=[weather], max_iters=3)(question=ask).answer


async def openai_stream(model, ask):
    with dspy.context(lm=lm(model)):
        listener = dspy.streaming.StreamListener(signature_field_name="answer")
        program = dspy.streamify(dspy.Predict("question -> answer"), stream_listeners=[listener])
        last = None
        async for part in program(question=ask):
            last = part
        return last.answer
