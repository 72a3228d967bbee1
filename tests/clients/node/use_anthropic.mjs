// The Anthropic client: messages, its stream helper, token counts and models.

import assert from 'node:assert/strict';
import Anthropic from '@anthropic-ai/sdk';

const schema = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const tools = [{ name: 'weather', input_schema: schema }];
const user = (content) => [{ role: 'user', content }];

export const messages = {
  async call(model, ask) {
    const reply = await new Anthropic().messages.create({ model, max_tokens: 100, messages: user(ask) });
    assert(reply.usage.output_tokens > 0);
    return reply.content[0].text;
  },
  async tools(model, ask) {
    const client = new Anthropic();
    const said = user(ask);
    for (;;) {
      const reply = await client.messages.create({ model, max_tokens: 100, messages: said, tools });
      if (reply.stop_reason !== 'tool_use') return reply.content[0].text;
      said.push({ role: 'assistant', content: reply.content });
      const results = reply.content.map((block) => {
        assert.deepEqual(block.input, { city: 'Paris' });
        return { type: 'tool_result', tool_use_id: block.id, content: 'sunny' };
      });
      said.push({ role: 'user', content: results });
    }
  },
  async stream(model, ask) {
    const stream = new Anthropic().messages.stream({ model, max_tokens: 100, messages: user(ask) });
    let text = '';
    stream.on('text', (piece) => (text += piece));
    const final = await stream.finalMessage();
    assert(final.usage.output_tokens > 1 && final.content[0].text === text);
    return text;
  },
  async more(model, ask) {
    const client = new Anthropic();
    // The first attempt is told to come again, and the client does.
    assert.match(await messages.call(model, 'are you busy, node?'), /busy/);
    assert((await client.messages.countTokens({ model, messages: user(ask) })).input_tokens > 0);
    const found = [];
    for await (const one of client.models.list()) found.push(one.id);
    assert(found.includes(model));
    return 'ok';
  },
};
