"""instructor: a model's answer as a Pydantic object, by a tool call, whole and in parts."""

import instructor
from pydantic import BaseModel


class Weather(BaseModel):
    """The city that was asked about."""

    city: str


def user(ask):
    return [{"role": "user", "content": ask}]


def openai_call(model, ask):
    client = instructor.from_provider(f"openai/{model}")
    return client.create(response_model=Weather, messages=user(ask)).city


openai_tools = openai_call


def openai_stream(model, ask):
    client = instructor.from_provider(f"openai/{model}")
    parts = list(client.create_partial(response_model=Weather, messages=user(ask)))
    return parts[-1].city
