// The openai client: chat completions and responses.

import assert from 'node:assert/strict';
import OpenAI from 'openai';

const schema = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const chatTools = [{ type: 'function', function: { name: 'weather', parameters: schema } }];
const responsesTools = [{ type: 'function', name: 'weather', parameters: schema, strict: false }];
const user = (content) => [{ role: 'user', content }];

function weather(text) {
  assert.deepEqual(JSON.parse(text), { city: 'Paris' });
  return 'sunny';
}

export const chat = {
  async call(model, ask) {
    const reply = await new OpenAI().chat.completions.create({ model, messages: user(ask) });
    assert(reply.usage.total_tokens > 0);
    return reply.choices[0].message.content;
  },
  async tools(model, ask) {
    const client = new OpenAI();
    const messages = user(ask);
    for (;;) {
      const reply = await client.chat.completions.create({ model, messages, tools: chatTools });
      const { message } = reply.choices[0];
      if (!message.tool_calls?.length) return message.content;
      messages.push(message);
      for (const call of message.tool_calls) {
        messages.push({ role: 'tool', tool_call_id: call.id, content: weather(call.function.arguments) });
      }
    }
  },
  async stream(model, ask) {
    let text = '';
    for await (const chunk of await new OpenAI().chat.completions.create({ model, messages: user(ask), stream: true })) {
      assert(!chunk.usage);
      text += chunk.choices[0].delta.content ?? '';
    }
    return text;
  },
  async more(model) {
    const client = new OpenAI();
    // The first attempt is told to come again, and the client does.
    assert.match(await chat.call(model, 'are you busy, node?'), /busy/);
    const found = [];
    for await (const one of client.models.list()) found.push(one.id);
    assert(found.includes(model));
    const vectors = await client.embeddings.create({ model: 'text-embedding-3-small', input: ['a', 'b'] });
    assert.deepEqual(vectors.data.map((entry) => entry.embedding), [[0.5, -0.25], [0.5, -0.25]]);
    return 'ok';
  },
};

export const responses = {
  async call(model, ask) {
    return (await new OpenAI().responses.create({ model, input: ask })).output_text;
  },
  async tools(model, ask) {
    const client = new OpenAI();
    const input = user(ask);
    for (;;) {
      const reply = await client.responses.create({ model, input, tools: responsesTools });
      const calls = reply.output.filter((item) => item.type === 'function_call');
      if (!calls.length) return reply.output_text;
      input.push(...reply.output);
      for (const call of calls) {
        input.push({ type: 'function_call_output', call_id: call.call_id, output: weather(call.arguments) });
      }
    }
  },
  async stream(model, ask) {
    const stream = new OpenAI().responses.stream({ model, input: ask });
    let text = '';
    for await (const event of stream) if (event.type === 'response.output_text.delta') text += event.delta;
    assert.equal((await stream.finalResponse()).output_text, text);
    return text;
  },
};
